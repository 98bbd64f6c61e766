"""The operator's commands against a real gateway over HTTPS."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import yaml
from typer import Typer
from typer.testing import CliRunner, Result

from reconciler.cli.get import device_app, get_app, rollout_app
from reconciler.errors import Misconfigured, ReconcilerError, Unavailable
from reconciler.http.app import create_app
from reconciler.http.metrics import Health
from reconciler.http.server import serve
from schemas.wire.status import Condition, Phase
from tests.support import documents
from tests.support.gateway_app import READ_TOKEN, TOKEN, token_file
from tests.support.gateway_device import NOW, SigningDevice
from tests.support.gateway_world import StillView, enrol
from tests.support.loopback_ca import loopback_ca
from tests.support.memory_store import MemoryStore

STATUS = documents.STATUS


@dataclass
class Desk:
    """An operator's shell: the gateway's address, token and authority are in the environment."""

    environment: dict[str, str]
    store: MemoryStore
    view: StillView

    def run(self, app: Typer, *arguments: str, **changes: str) -> Result:
        runner = CliRunner()
        environment = {**self.environment, **changes}
        return runner.invoke(app, list(arguments), env=environment)

    def rows(self) -> list[str]:
        """Return the table of the devices, in the order of their names."""
        return sorted(self.run(get_app, "devices").stdout.splitlines()[1:])

    def phase(self, phase: Phase) -> None:
        assert STATUS.rollout is not None
        status = replace(STATUS, rollout=replace(STATUS.rollout, phase=phase))
        self.view.fleets = {STATUS.fleet: status}


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    store, view = MemoryStore(lambda: NOW), StillView({STATUS.fleet: STATUS})
    loopback_ca(tmp_path)
    pem = tmp_path / "server.pem"
    app = create_app(store=store, view=view, health=Health(), tokens=token_file(tmp_path))
    with serve(app, host="127.0.0.1", port=0, certificate=pem, key=pem) as server:
        environment = {
            "FLEETCD_URL": f"https://127.0.0.1:{server.port}",
            "FLEETCD_TOKEN": TOKEN,
            "FLEETCD_CA": str(tmp_path / "ca.pem"),
            "XDG_CONFIG_HOME": str(tmp_path / "config"),
            "HTTPS_PROXY": "http://127.0.0.1:9",
        }
        yield Desk(environment, store, view)


@pytest.mark.parametrize("what", ["fleets", "rollouts", "releases", "devices"])
def test_everything_can_be_shown_in_every_format(desk: Desk, what: str) -> None:
    enrol(desk.store, SigningDevice())
    shown = json.loads(desk.run(get_app, what, "-o", "json").stdout)
    assert shown
    assert yaml.safe_load(desk.run(get_app, what, "-o", "yaml").stdout) == shown
    header, *rows = desk.run(get_app, what).stdout.splitlines()
    assert header.split()[0] in ("FLEET", "RELEASE", "NAME")
    assert len(rows) == len(shown)


def test_devices_are_filtered_by_the_gateway(desk: Desk) -> None:
    enrol(desk.store, SigningDevice())
    for state, number in (("pending", 1), ("accepted", 0)):
        result = desk.run(get_app, "devices", "--state", state, "-o", "json")
        assert len(json.loads(result.stdout)) == number


def test_a_device_is_accepted_by_name_and_rejected_by_key(desk: Desk) -> None:
    device = SigningDevice("kiosk-0001")
    enrol(desk.store, device)
    accepted = desk.run(
        device_app, "accept", device.name, "--reason", "mine", "--label", "site=paris"
    )
    assert accepted.stdout == f"kiosk-0001 ({device.key}): accepted\n"
    rejected = desk.run(device_app, "reject", device.key, "--reason", "stolen")
    assert rejected.stdout.endswith(": rejected\n")
    assert [ruling.reason for _, ruling in desk.store.audit] == ["mine", "stolen"]


def test_the_beginning_of_a_key_as_the_table_shows_it_names_a_device(desk: Desk) -> None:
    devices = [SigningDevice(f"kiosk-000{number}") for number in range(3)]
    for device in devices:
        enrol(desk.store, device)
    for device, row in zip(devices, desk.rows(), strict=True):
        short = row.split()[-1]
        assert device.key.startswith(f"sha256:{short}")
        assert len(short) == 12
        accepted = desk.run(device_app, "accept", short, "--reason", "mine")
        assert accepted.stdout == f"{device.name} ({device.key}): accepted\n"


@pytest.mark.parametrize("unknown", ["sha256:" + "0" * 12, "0" * 8, "0" * 7, "sha256:x"])
def test_the_beginning_of_no_key_names_nobody(desk: Desk, unknown: str) -> None:
    enrol(desk.store, SigningDevice())
    result = desk.run(device_app, "accept", unknown, "--reason", "which?")
    assert isinstance(result.exception, ReconcilerError)
    assert "no device is called" in str(result.exception)


def test_a_name_that_several_keys_ask_for_is_not_guessed(desk: Desk) -> None:
    devices = [SigningDevice("kiosk-0001"), SigningDevice("kiosk-0001")]
    for device in devices:
        enrol(desk.store, device)
    result = desk.run(device_app, "accept", "kiosk-0001", "--reason", "which?")
    assert isinstance(result.exception, ReconcilerError)
    assert all(device.key in str(result.exception) for device in devices)


@pytest.mark.parametrize(
    ("phase", "code"),
    [
        (Phase.COMPLETED, 0),
        (Phase.PAUSED, 3),
        (Phase.HALTED, 3),
        (Phase.ROLLED_BACK, 3),
        (Phase.PROGRESSING, 4),
        (Phase.AWAITING_APPROVAL, 4),
    ],
)
def test_the_exit_status_tells_how_the_rollout_is(desk: Desk, phase: Phase, code: int) -> None:
    desk.phase(phase)
    result = desk.run(rollout_app, "status", STATUS.fleet)
    assert result.exit_code == code
    assert str(phase) in result.stdout


def test_watching_ends_when_the_time_is_up(desk: Desk) -> None:
    desk.phase(Phase.PROGRESSING)
    result = desk.run(
        rollout_app, "status", STATUS.fleet, "-w", "--every", "0.2", "--timeout", "0.5"
    )
    assert result.exit_code == 4
    assert result.stdout.count("progressing") == 1


def test_a_rollout_is_found_by_its_name(desk: Desk) -> None:
    assert STATUS.rollout is not None
    result = desk.run(rollout_app, "status", STATUS.rollout.id, "-o", "json")
    assert json.loads(result.stdout)[0]["fleet"] == STATUS.fleet


def test_a_token_that_is_not_accepted_is_said_so(desk: Desk) -> None:
    result = desk.run(get_app, "fleets", FLEETCD_TOKEN="wrong")
    assert isinstance(result.exception, Misconfigured)
    result = desk.run(
        device_app, "reject", "sha256:" + "a" * 64, "--reason", "x", FLEETCD_TOKEN=READ_TOKEN
    )
    assert "may only read" in str(result.exception)


def test_an_unknown_authority_is_not_trusted(desk: Desk) -> None:
    result = desk.run(get_app, "fleets", FLEETCD_CA="")
    assert isinstance(result.exception, Misconfigured)
    assert "its certificate is not trusted" in str(result.exception)


def test_a_gateway_that_is_down_is_said_in_words(desk: Desk) -> None:
    result = desk.run(get_app, "fleets", FLEETCD_URL="https://127.0.0.1:9")
    assert isinstance(result.exception, Unavailable)
    assert str(result.exception).startswith("https://127.0.0.1:9: Connection refused; ")


@pytest.mark.parametrize("what", [(get_app, "fleets"), (rollout_app, "status", STATUS.fleet)])
def test_a_commit_with_a_mistake_is_named_beside_what_is_shown(
    desk: Desk, what: tuple[Typer, *tuple[str, ...]]
) -> None:
    place = "fleets/kiosks.yaml:7:3: spec.selektor: unknown field"
    desk.view.told = (Condition("CommitValid", False, "Invalid", place, NOW),)
    app, *arguments = what
    result = desk.run(app, *arguments, "-o", "json")
    assert result.stderr == f"CommitValid is false: {place}\n"
    assert json.loads(result.stdout)
    assert place in desk.run(get_app, "conditions").stdout


def test_a_reconciler_that_is_well_is_not_mentioned(desk: Desk) -> None:
    desk.view.told = (Condition("CommitValid", True, "Valid", "commit 1", NOW),)
    assert desk.run(get_app, "fleets").stderr == ""


def test_a_label_that_no_device_can_have_is_refused_before_the_gateway_is_asked(
    desk: Desk,
) -> None:
    result = desk.run(device_app, "accept", "x", "--reason", "x", "--label", "site=a b")
    assert result.exit_code == 2
    assert "at most 63" in result.stderr


def test_what_is_not_given_comes_from_the_configuration_file(desk: Desk, tmp_path: Path) -> None:
    folder = tmp_path / "config" / "fleetcd"
    folder.mkdir(parents=True)
    lines = [
        f'url = "{desk.environment["FLEETCD_URL"]}"',
        f'token = "{TOKEN}"',
        'ca = "../../ca.pem"',
    ]
    (folder / "config.toml").write_text("\n".join(lines))
    nothing = {"FLEETCD_URL": "", "FLEETCD_TOKEN": "", "FLEETCD_CA": ""}
    assert desk.run(get_app, "fleets", **nothing).exit_code == 0


def test_what_is_missing_is_named_with_the_places_to_put_it(desk: Desk) -> None:
    result = desk.run(get_app, "fleets", FLEETCD_URL="")
    assert isinstance(result.exception, Misconfigured)
    for place in ("--url", "FLEETCD_URL", "config.toml"):
        assert place in str(result.exception)


def test_a_stage_is_counted_over_the_devices_that_it_added(desk: Desk) -> None:
    assert STATUS.rollout is not None
    first = replace(STATUS.rollout.exposure[0], size=2)
    both = (first, replace(first, stage="all", size=10))
    rollout = replace(STATUS.rollout, exposure=both)
    desk.view.fleets = {STATUS.fleet: replace(STATUS, rollout=rollout)}
    ok = first.counts.ok
    shown = desk.run(get_app, "rollouts").stdout
    assert f"{first.stage}:{ok}/2" in shown
    assert f"all:{ok}/8" in shown
