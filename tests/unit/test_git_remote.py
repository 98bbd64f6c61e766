"""Addresses are checked and credentials travel in the environment only."""

import base64
import shlex
from pathlib import Path

import pytest

from reconciler.adapters.git_remote import Environment, Remote, environment_for, parse_remote, shown
from reconciler.errors import Misconfigured
from reconciler.settings import Git


def parse(url: str) -> Remote:
    return parse_remote(Git(url=url))


def configuration(environment: Environment) -> dict[str, str]:
    variables = environment.variables
    count = int(variables["GIT_CONFIG_COUNT"])
    return {
        variables[f"GIT_CONFIG_KEY_{n}"]: variables[f"GIT_CONFIG_VALUE_{n}"] for n in range(count)
    }


@pytest.mark.parametrize(
    ("url", "protocol", "path"),
    [
        ("/srv/git/fleet.git", "file", Path("/srv/git/fleet.git")),
        ("/srv/my git/-odd", "file", Path("/srv/my git/-odd")),
        ("file:///srv/my%20git", "file", Path("/srv/my git")),
        ("ssh://git@host.example:2222/fleet.git", "ssh", None),
        ("git@host.example:acme/fleet.git", "ssh", None),
        ("[::1]:fleet.git", "ssh", None),
        ("https://host.example/acme/fleet.git", "https", None),
    ],
)
def test_the_four_kinds_of_remote_are_recognised(
    url: str, protocol: str, path: Path | None
) -> None:
    assert parse(url) == Remote(url, protocol, "main", path)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "-u/srv/git",
        "--upload-pack=touch /tmp/x",
        "fleet.git",
        "./fleet.git",
        "ext::sh -c true",
        "fd::17",
        "http://host.example/fleet.git",
        "git://host.example/fleet.git",
        "ftp://host.example/fleet.git",
        "ssh://-oProxyCommand=true/fleet.git",
        "ssh://-l@host.example/fleet.git",
        "-oProxyCommand=true:fleet.git",
        "host.example:-fleet.git",
        "https:///fleet.git",
        "https://host.example:port/fleet.git",
        "https://host.exa mple/fleet.git",
        "file://host.example/fleet.git",
        "https://host.example/fleet.git\nx",
        "/srv/git\0",
    ],
)
def test_an_address_that_git_might_misread_is_refused(url: str) -> None:
    with pytest.raises(Misconfigured, match=r"^git\.url: .* cannot be used: "):
        parse(url)


@pytest.mark.parametrize(
    "url",
    [
        "https://ada:hunter2@host.example/fleet.git",
        "https://hunter2@host.example/fleet.git",
        "https://ada:hunter2/@host.example/fleet.git",
        "ssh://git:hunter2@host.example/fleet.git",
        "http://ada:hunter2@host.example/fleet.git",
    ],
)
def test_credentials_in_an_address_are_refused_and_not_shown(url: str) -> None:
    with pytest.raises(Misconfigured) as refused:
        parse(url)
    assert "hunter2" not in str(refused.value)


def test_two_addresses_in_one_text_both_lose_their_credentials() -> None:
    assert shown("a https://u:p@x/ b ssh://q@y") == "a https://***@x/ b ssh://***@y"


@pytest.mark.parametrize("branch", ["", "-x", "refs/heads/main"])
def test_a_branch_is_its_short_name(branch: str) -> None:
    with pytest.raises(Misconfigured, match=r"git\.branch"):
        parse_remote(Git(url="/srv/git", branch=branch))


@pytest.mark.parametrize("commit", ["main", "abc123", "A" * 40, "a" * 41])
def test_allow_reset_is_a_full_commit_id(commit: str) -> None:
    with pytest.raises(Misconfigured, match=r"git\.allow_reset"):
        parse_remote(Git(url="/srv/git", allow_reset=commit))


def test_the_machines_configuration_prompts_hooks_and_other_protocols_are_off() -> None:
    settings = Git(url="/srv/git")
    environment = environment_for(parse_remote(settings), settings)
    assert (
        environment.variables.items()
        >= {
            "GIT_ALLOW_PROTOCOL": "file",
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0",
        }.items()
    )
    assert (
        configuration(environment).items()
        >= {
            "core.hooksPath": "/dev/null",
            "protocol.ext.allow": "never",
            "transfer.fsckObjects": "true",
            "http.followRedirects": "false",
        }.items()
    )


@pytest.mark.parametrize(
    ("content", "pair"),
    [("s3cret\n", "x-access-token:s3cret"), ("deploy:s3cret", "deploy:s3cret")],
)
def test_a_token_becomes_a_header_for_its_own_address_only(
    tmp_path: Path, content: str, pair: str
) -> None:
    file = tmp_path / "token"
    file.write_text(content)
    settings = Git(url="https://host.example/fleet.git", token_file=file)
    environment = environment_for(parse_remote(settings), settings)
    basic = base64.b64encode(pair.encode()).decode()
    header = configuration(environment)["http.https://host.example/fleet.git.extraHeader"]
    assert header == f"Authorization: Basic {basic}"
    assert {"s3cret", basic} <= set(environment.secrets)
    assert not any(secret in repr(environment) for secret in environment.secrets)


@pytest.mark.parametrize("content", [b"", b"\n", b"a\nX-Evil: b", b"\xff", b"a" * 5000])
def test_a_token_file_holds_one_line(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "token"
    file.write_bytes(content)
    settings = Git(url="https://host.example/fleet.git", token_file=file)
    with pytest.raises(Misconfigured, match="write one line"):
        environment_for(parse_remote(settings), settings)


@pytest.mark.parametrize(
    "settings",
    [
        Git(url="/srv/git", token_file=Path("/t")),
        Git(url="git@host.example:x", token_file=Path("/t")),
        Git(url="https://host.example/x", ssh_key_file=Path("/k")),
        Git(url="/srv/git", known_hosts_file=Path("/k")),
        Git(url="https://host.example/x", token_file=Path("/nowhere/token")),
        Git(url="git@host.example:x", ssh_key_file=Path("/nowhere/key")),
    ],
)
def test_credentials_of_the_wrong_kind_or_absent_are_refused(settings: Git) -> None:
    with pytest.raises(Misconfigured, match=r"git\.(token|ssh_key)_file"):
        environment_for(parse_remote(settings), settings)


def test_ssh_uses_the_configured_key_and_hosts_and_asks_nothing(tmp_path: Path) -> None:
    key, hosts = tmp_path / "my key", tmp_path / "known 50% hosts"
    key.touch()
    hosts.touch()
    settings = Git(url="git@host.example:x", ssh_key_file=key, known_hosts_file=hosts)
    environment = environment_for(parse_remote(settings), settings)
    command = shlex.split(environment.variables["GIT_SSH_COMMAND"])
    assert command[command.index("-i") + 1] == str(key)
    assert f'UserKnownHostsFile="{tmp_path}/known 50%% hosts"' in command
    assert {"BatchMode=yes", "IdentitiesOnly=yes", "StrictHostKeyChecking=yes"} <= set(command)
    assert environment.variables["GIT_ALLOW_PROTOCOL"] == "ssh"
