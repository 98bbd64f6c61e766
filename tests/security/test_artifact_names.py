"""Names in an artifact that would choose what runs on a device (case 62 of cases.toml)."""

import pytest

from schemas.refusal import Code
from tests.support.artifacts import Build, header_info, member, refusal, tar


@pytest.mark.parametrize(
    "name",
    [
        "Idle_Enter_00",
        "Download_Enter_00",
        "ArtifactInstall_Enter_100",
        "ArtifactInstall_Enter",
        "ArtifactInstall_enter_00",
        "version",
        "x.sh",
    ],
)
def test_62_a_script_that_belongs_to_no_state_is_refused(name: str) -> None:
    assert refusal(Build(scripts=(name,)).bytes()).code == Code.MODULE


def test_62_a_script_in_a_folder_is_refused() -> None:
    assert refusal(Build(scripts=("a/ArtifactInstall_Enter_00",)).bytes()).code == Code.PATH


@pytest.mark.parametrize("kind", ["../deb", "a/b", ".deb", "", "deb\n", "-x"])
def test_62_a_payload_type_that_names_no_module_is_refused(kind: str) -> None:
    info = member("header-info", header_info(kind))
    assert refusal(Build(header=tar(info)).bytes()).code in (Code.MODULE, Code.SCHEMA)
