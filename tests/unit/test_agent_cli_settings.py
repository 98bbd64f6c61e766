"""agent.toml: read strictly, relative to itself; a wrong key says what was meant."""

from pathlib import Path

import pytest

from device_agent import app
from device_agent.boot.environment_bootloader import EnvironmentBootloader
from device_agent.boot.mender_scheme import MenderScheme
from device_agent.boot.scheme import FleetcdScheme
from device_agent.settings import Misconfigured, load, load_local, parse

WHERE = Path("/etc/fleetcd/agent.toml")
LEAST = '[device]\nname = "kiosk-0001"\n[server]\ntree = "https://t"\n[trust]\nroot = "root.json"\n'


def test_the_least_configuration_is_enough() -> None:
    settings = parse(LEAST.encode(), WHERE)
    assert settings.trust.root == Path("/etc/fleetcd/root.json")
    assert settings.device.state == Path("/var/lib/fleetcd")
    assert settings.machine.reboot == ("systemctl", "reboot")
    assert settings.boot.bootloader == "none"


def test_paths_are_absolute_wherever_the_command_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Modules and scripts run in directories of their own."""
    (tmp_path / "agent.toml").write_text(LEAST)
    monkeypatch.chdir(tmp_path)
    assert load(Path("agent.toml")).trust.root == tmp_path / "root.json"


def test_everything_can_be_said() -> None:
    text = LEAST.replace(
        'name = "kiosk-0001"\n',
        'name = "kiosk-0001"\nstate = "data"\nfacts = {hardware = "x86"}\nfacts_file = "facts"\n',
    )
    text += """
        [boot]
        bootloader = "file"
        directory = "boot"
        slots = {a = "a.img", b = "/dev/sda3"}
        [modules]
        directories = ["modules"]
        timeout = 60
        [machine]
        reboot = "exit"
        [poll]
        interval = 1.5
        jitter = 0
        initial_delay = 0
        [reports]
        heartbeat = 10
    """
    settings = parse(text.encode(), WHERE)
    assert settings.device.state == Path("/etc/fleetcd/data")
    assert settings.boot.slots == {"a": Path("/etc/fleetcd/a.img"), "b": Path("/dev/sda3")}
    assert settings.modules.directories == (Path("/etc/fleetcd/modules"),)
    assert (settings.machine.reboot, settings.poll.interval) == ("exit", 1.5)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        pytest.param(LEAST + "[pol]\n", "pol: unknown key; did you mean poll?", id="a section"),
        pytest.param(
            LEAST + "[poll]\nintervall = 1\n",
            "poll.intervall: unknown key; did you mean interval?",
            id="a key",
        ),
        pytest.param(LEAST + "[zzz]\n", "known are", id="nothing near"),
        pytest.param(LEAST.replace("[trust]", "[reports]"), "trust: missing", id="misplaced"),
        pytest.param('[device]\nname = "x"\n', "server: missing", id="a missing section"),
        pytest.param(LEAST.replace('"kiosk-0001"', "7"), "device.name: text in quotes", id="type"),
        pytest.param(LEAST.replace("kiosk-0001", "Kiosk 1"), "is not a name", id="a name"),
        pytest.param(LEAST + '[poll]\ninterval = "5m"\n', "a number expected", id="a number"),
        pytest.param(LEAST + "[poll]\ninterval = true\n", "a number expected", id="a truth"),
        pytest.param(LEAST + "[poll]\ninterval = 0\n", "more than 0 seconds", id="zero"),
        pytest.param(LEAST + "[poll]\njitter = 1.0\n", "a fraction", id="jitter"),
        pytest.param(LEAST + '[boot]\nbootloader = "lilo"\n', "one of 'uboot'", id="a choice"),
        pytest.param(LEAST + '[boot]\nbootloader = "file"\n', "boot.directory", id="no directory"),
        pytest.param(
            LEAST + '[boot]\nbootloader = "file"\ndirectory = "x"\nslots = {a = "a"}\n',
            "exactly the slots a and b",
            id="one slot",
        ),
        pytest.param(LEAST + '[machine]\nreboot = "now"\n', "one of 'exit'", id="a reboot"),
        pytest.param(LEAST + "[machine]\nreboot = [1]\n", "text in quotes", id="a list's item"),
        pytest.param("[device\n", "agent.toml:", id="not TOML"),
    ],
)
def test_a_mistake_is_named_with_file_and_key(text: str, complaint: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        parse(text.encode(), WHERE)
    assert complaint in str(caught.value)
    assert str(WHERE) in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"agent\.toml: No such file"):
        load(tmp_path / "agent.toml")


def test_the_status_socket_is_a_path_or_none() -> None:
    none, path = (LEAST + f'[owner]\nstatus = "{value}"\n' for value in ("none", "s.sock"))
    assert parse(none.encode(), WHERE).owner.status == "none"
    assert parse(path.encode(), WHERE).owner.status == Path("/etc/fleetcd/s.sock")


def test_an_installation_by_hand_needs_no_server(tmp_path: Path) -> None:
    path = tmp_path / "agent.toml"
    path.write_text('[device]\nname = "bench-1"\n', encoding="utf-8")
    assert load_local(path).server is None
    with pytest.raises(Misconfigured, match="server: missing"):
        load(path)


def test_an_installation_by_hand_hears_of_unknown_keys_too(tmp_path: Path) -> None:
    path = tmp_path / "agent.toml"
    path.write_text('[device]\nname = "bench-1"\n[modules]\ntimout = 3\n', encoding="utf-8")
    with pytest.raises(Misconfigured, match="did you mean timeout"):
        load_local(path)


SLOTS = 'slots = {a = "/dev/vda2", b = "/dev/vda3"}\n'


@pytest.mark.parametrize(
    ("boot", "complaint"),
    [
        ('bootloader = "uboot"\n' + SLOTS, "boot.environments: name the fw_env.config"),
        ('bootloader = "grub"\nenvironments = ["a"]\n' + SLOTS, "the two copies"),
        ('bootloader = "uboot"\nenvironments = ["a"]\n', "boot.slots"),
        (
            'bootloader = "grub"\nenvironments = ["a", "b"]\nvariables = "mender"\n' + SLOTS,
            "goes with bootloader",
        ),
    ],
)
def test_a_bootloader_that_lacks_something_is_named(boot: str, complaint: str) -> None:
    with pytest.raises(Misconfigured, match=complaint):
        parse(f"{LEAST}[boot]\n{boot}".encode(), WHERE)


@pytest.mark.parametrize(
    ("boot", "scheme"),
    [
        ('bootloader = "uboot"\nenvironments = ["a"]\n', FleetcdScheme),
        ('bootloader = "uboot"\nenvironments = ["a"]\nvariables = "mender"\n', MenderScheme),
        ('bootloader = "grub"\nenvironments = ["a", "b"]\n', FleetcdScheme),
    ],
)
def test_a_boards_bootloader_is_put_together(boot: str, scheme: type) -> None:
    settings = parse(f"{LEAST}[boot]\n{boot}{SLOTS}".encode(), WHERE)
    found = app.bootloader(settings)
    assert isinstance(found, EnvironmentBootloader)
    assert isinstance(found._scheme, scheme)
