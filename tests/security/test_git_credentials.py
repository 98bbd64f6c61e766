"""Secrets reach the Git host they are for, and nobody and nothing else."""

import base64
import logging
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.adapters.git_source import GitSource
from reconciler.errors import Unavailable
from tests.support.git_https_server import GitHost, git_host
from tests.support.git_upstream import Upstream, source_of
from tests.support.loopback_ca import loopback_ca

TOKEN = "ghp_do-not-tell-anyone"
BASIC = base64.b64encode(f"x-access-token:{TOKEN}".encode()).decode()


@pytest.fixture
def upstream(tmp_path: Path) -> Upstream:
    upstream = Upstream(tmp_path / "upstream")
    upstream.push({"a.yaml": b"1"})
    return upstream


@pytest.fixture
def host(upstream: Upstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GitHost]:
    ca = loopback_ca(tmp_path)
    monkeypatch.setenv("GIT_SSL_CAINFO", str(ca.ca_file))
    with git_host(upstream.root, f"Basic {BASIC}", ca.server) as host:
        yield host


def https_source(host: GitHost, tmp_path: Path, token: str = TOKEN) -> GitSource:
    file = tmp_path / "token"
    file.write_text(f"{token}\n")
    return source_of(host.url("fleet.git"), tmp_path / "state", token_file=file)


def spy(directory: Path, program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a `program` first on PATH that notes its arguments and environment and then runs."""
    real = shutil.which(program)
    directory.mkdir(exist_ok=True)
    wrapper = directory / program
    wrapper.write_text(
        f'#!/bin/sh\nprintf "%s\\n" "$@" >> {directory}/arguments\n'
        f'env >> {directory}/environment\nexec {real} "$@"\n'
    )
    wrapper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")


def test_a_token_opens_an_https_remote(host: GitHost, upstream: Upstream, tmp_path: Path) -> None:
    source = https_source(host, tmp_path)
    source.accept(source.fetch())
    commit = upstream.push({"a.yaml": b"2"})
    assert source.fetch() == commit
    assert [file.path for file in source.files(commit)] == ["a.yaml"]


def test_a_token_that_was_replaced_is_used_without_a_restart(
    host: GitHost, upstream: Upstream, tmp_path: Path
) -> None:
    source = https_source(host, tmp_path, "outdated")
    with pytest.raises(Unavailable, match=r"git\.token_file"):
        source.fetch()
    (tmp_path / "token").unlink()
    with pytest.raises(Unavailable, match="No such file"):
        source.fetch()
    (tmp_path / "token").write_text(TOKEN)
    assert source.fetch() == upstream.head()


def test_the_token_is_in_no_argument_file_log_or_message(
    host: GitHost,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("GIT_TRACE_CURL", "1")
    monkeypatch.setenv("GIT_TRACE_REDACT", "0")
    spy(tmp_path / "bin", "git", monkeypatch)
    source = https_source(host, tmp_path)
    source.fetch()
    host.authorization = "something else"
    with pytest.raises(Unavailable) as refused:
        source.fetch()
    arguments = (tmp_path / "bin" / "arguments").read_text()
    assert "ls-remote" in arguments
    assert "fetch" in arguments
    assert BASIC in (tmp_path / "bin" / "environment").read_text()
    written = "".join(capfd.readouterr()) + caplog.text + str(refused.value) + arguments
    kept = b"".join(file.read_bytes() for file in (tmp_path / "state").rglob("*") if file.is_file())
    for secret in (TOKEN, BASIC):
        assert secret not in written
        assert secret.encode() not in kept


def test_children_that_only_look_at_the_mirror_do_not_get_the_token(
    host: GitHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = https_source(host, tmp_path)
    commit = source.fetch()
    spy(tmp_path / "bin", "git", monkeypatch)
    source.accept(commit)
    source.read(file.blob for file in source.files(commit))
    environment = (tmp_path / "bin" / "environment").read_text()
    assert BASIC not in environment
    assert "GIT_ALLOW_PROTOCOL=none" in environment


def test_a_redirect_is_not_followed_and_carries_no_token_away(
    host: GitHost, upstream: Upstream, tmp_path: Path
) -> None:
    with git_host(upstream.root, f"Basic {BASIC}", host.context) as elsewhere:
        host.redirect_to = elsewhere.url("")[:-1]
        with pytest.raises(Unavailable, match="redirects are not followed"):
            https_source(host, tmp_path).fetch()
        assert elsewhere.seen == []


def test_a_server_that_the_ca_did_not_certify_gets_no_token(
    host: GitHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    monkeypatch.setenv("GIT_SSL_CAINFO", str(loopback_ca(other).ca_file))
    monkeypatch.setenv("GIT_SSL_NO_VERIFY", "1")
    with pytest.raises(Unavailable, match="certificate"):
        https_source(host, tmp_path).fetch()
    assert host.seen == []


def fake_ssh(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put an `ssh` first on PATH that notes its arguments and runs the command on this machine."""
    directory.mkdir()
    program = directory / "ssh"
    program.write_text(
        f'#!/bin/sh\nprintf "%s\\n" "$@" >> {directory}/arguments\n'
        'for command; do :; done\nexec sh -c "$command"\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")
    monkeypatch.setenv("GIT_SSH", "/bin/false")
    monkeypatch.setenv("GIT_SSH_COMMAND", "/bin/false")


def test_an_ssh_remote_is_read_with_the_configured_key_and_known_hosts(
    upstream: Upstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_ssh(tmp_path / "bin", monkeypatch)
    key, hosts = tmp_path / "key", tmp_path / "known hosts"
    key.touch(stat.S_IRUSR)
    hosts.touch()
    for url in (f"ssh://git@host.example{upstream.bare}", f"git@host.example:{upstream.bare}"):
        source = source_of(
            url, tmp_path / "state", ssh_key_file=key, known_hosts_file=hosts, timeout=15
        )
        assert source.fetch() == upstream.head()
    arguments = (tmp_path / "bin" / "arguments").read_text().splitlines()
    assert arguments[arguments.index("-i") + 1] == str(key)
    assert {
        "BatchMode=yes",
        "IdentitiesOnly=yes",
        "StrictHostKeyChecking=yes",
        f'UserKnownHostsFile="{hosts}"',
        "git@host.example",
    } <= set(arguments)


def test_a_real_ssh_accepts_our_options(tmp_path: Path) -> None:
    """Nothing listens there: ssh gets as far as the connection, with every option understood."""
    if shutil.which("ssh") is None:
        pytest.skip("apt-get install openssh-client")
    key, hosts = tmp_path / "my key", tmp_path / "known 50% hosts"
    key.touch(stat.S_IRUSR)
    hosts.touch()
    source = source_of(
        "ssh://git@127.0.0.1:1/fleet.git",
        tmp_path / "state",
        ssh_key_file=key,
        known_hosts_file=hosts,
    )
    with pytest.raises(Unavailable, match=r"connect to host 127\.0\.0\.1 port 1: "):
        source.fetch()
