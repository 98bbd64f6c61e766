"""fleetcd.toml: what is wrong is named with its file and field, before anything starts."""

import re
from pathlib import Path

import pytest

from reconciler.errors import Misconfigured
from reconciler.settings import Settings

GOOD = """\
[git]
url = "/srv/fleet.git"
[tree]
directory = "tree"
url = "https://devices.example/tree"
[keys]
online = "file:keys/online.pem"
timestamp = "file:keys/timestamp.pem"
[state]
directory = "state"
"""


def load(path: Path, text: str) -> Settings:
    file = path / "fleetcd.toml"
    file.write_text(text, encoding="utf-8")
    return Settings.load(file)


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    settings = load(
        tmp_path, GOOD + '[gateway]\ncertificate = "tls/server.pem"\nkey = "/etc/key"\n'
    )
    assert settings.tree.directory == tmp_path / "tree"
    assert settings.gateway.certificate == tmp_path / "tls" / "server.pem"
    assert settings.gateway.key == Path("/etc/key")
    assert settings.state.database_url == f"sqlite:///{tmp_path}/state/fleetcd.db"


@pytest.mark.parametrize(
    ("text", "field"),
    [
        (GOOD.replace("[tree]", 'brnch = "main"\n[tree]'), "git.brnch"),
        (GOOD + "[rollout]\ntick = 1\n", "rollout"),
        (GOOD.replace('url = "/srv/fleet.git"', "url = 7"), "git.url"),
        (GOOD.replace('url = "/srv/fleet.git"', ""), "git.url"),
        (GOOD + "[rollouts]\npoll = 0\n", "rollouts.poll"),
        (GOOD + "[rollouts]\ntick = 0.001\n", "rollouts.tick"),
        (GOOD + '[rollouts]\nfresh_for = "never"\n', "rollouts.fresh_for"),
        (GOOD.replace("[keys]", "").replace('online = "file:keys/online.pem"', ""), "keys"),
    ],
)
def test_a_wrong_field_is_named_with_the_file(tmp_path: Path, text: str, field: str) -> None:
    with pytest.raises(Misconfigured, match=re.escape(f"{tmp_path}/fleetcd.toml: {field}: ")):
        load(tmp_path, text)


def test_all_wrong_fields_are_named_at_once(tmp_path: Path) -> None:
    text = GOOD.replace('"/srv/fleet.git"', "7") + '[gateway]\nserve_tree = "perhaps"\n'
    with pytest.raises(Misconfigured) as refused:
        load(tmp_path, text)
    lines = str(refused.value).splitlines()
    assert [line.split(": ")[1] for line in lines] == ["git.url", "gateway.serve_tree"]


def test_a_key_that_is_unknown_or_missing_is_said_in_plain_words(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured) as refused:
        load(tmp_path, GOOD.replace("[git]", "[gitt]"))
    told = str(refused.value)
    assert "fleetcd.toml: git: is missing" in told
    assert "fleetcd.toml: gitt: unknown key; docs/operations.md lists them" in told


def test_what_is_no_toml_is_named_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"fleetcd\.toml: .*line 11"):
        load(tmp_path, GOOD + "[rollouts\n")


def test_what_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "fleetcd.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(Misconfigured, match=r"fleetcd\.toml"):
        Settings.load(tmp_path / "fleetcd.toml")


def test_a_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"fleetcd\.toml: No such file.*`fleetcd init`"):
        Settings.load(tmp_path / "fleetcd.toml")


def test_a_directory_in_its_place_is_named(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="Is a directory"):
        Settings.load(tmp_path)
