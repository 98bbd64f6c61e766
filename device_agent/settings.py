"""The agent's configuration, `/etc/fleetcd/agent.toml`: read strictly, once.

An unknown key is an error with a suggestion; types are checked; relative paths are relative to the
file. Sections are the dataclasses below. A device that is only updated by hand needs no server, no
trust, and not even the file: `load_local`.
"""

import difflib
import os
import re
import tomllib
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, TypeVar

DEFAULT_PATH = Path("/etc/fleetcd/agent.toml")
LIMIT = 256 * 1024  # bytes
NAME = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,61}[a-z0-9])?")

Section = TypeVar("Section")
LocalT = TypeVar("LocalT", bound="Local")


class Misconfigured(Exception):
    """The configuration is wrong: a person must change it. Says file, key, and what to do."""


@dataclass(frozen=True, slots=True)
class Device:
    """`state` is a directory on the data partition; `facts` are what `compatible` may ask for;
    `facts_file` adds `key=value` lines."""

    name: str
    state: Path = Path("/var/lib/fleetcd")
    facts: Mapping[str, str] = field(default_factory=dict)
    facts_file: Path | None = None


@dataclass(frozen=True, slots=True)
class Server:
    """`tree` and `gateway` are addresses; no `gateway`: nothing is reported. `ca` is a PEM file
    (default: the system's store). `http_hosts` may be asked without TLS."""

    tree: str
    gateway: str | None = None
    ca: Path | None = None
    proxy: str | None = None
    http_hosts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Trust:
    """`root` is the root.json that the read-only image carries."""

    root: Path


@dataclass(frozen=True, slots=True)
class Boot:
    """`uboot`, `grub`: `environments` are where the variables lie, as fw_env.config files or as the
    two copies of GRUB's block, and `variables` whose names they have. `file`: a bootloader in
    `directory`, under a supervisor; `none`: a device without slots."""

    bootloader: Literal["uboot", "grub", "file", "none"] = "none"
    variables: Literal["fleetcd", "mender"] = "fleetcd"
    environments: tuple[Path, ...] = ()
    directory: Path | None = None
    slots: Mapping[str, Path] = field(default_factory=dict)
    watchdog: Path | None = None  # where no systemd has it: /dev/watchdog
    watchdog_timeout: float = 60.0  # whole seconds, 30 at least


@dataclass(frozen=True, slots=True)
class Modules:
    """Where Update Modules lie, and how many seconds each of their calls may take. The first
    directory that has one wins; those that come with the agent are looked at last."""

    directories: tuple[Path, ...] = (
        Path("/usr/share/fleetcd/modules/v3"),
        Path("/usr/share/mender/modules/v3"),
    )
    timeout: float = 4 * 3600.0


@dataclass(frozen=True, slots=True)
class Scripts:
    """The image's state scripts, and seconds: for one run, between two runs of a script that asks
    to be run again (exit 21), and for all of them."""

    directory: Path = Path("/etc/mender/scripts")
    timeout: float = 3600.0
    retry_interval: float = 60.0
    retry_timeout: float = 1800.0


@dataclass(frozen=True, slots=True)
class Artifacts:
    """With `verify_keys` (PEM files), every `.mender` artifact has to be signed by one of them.
    A bootstrap artifact has to be signed unless `unsigned_bootstrap` is `accept`."""

    verify_keys: tuple[Path, ...] = ()
    unsigned_bootstrap: Literal["refuse", "accept"] = "refuse"


@dataclass(frozen=True, slots=True)
class Owner:
    """Where the device's owner may object (`inhibit.d`), and the socket that tells local
    applications how it stands (`none`: no socket)."""

    inhibit: tuple[Path, ...] = (Path("/etc/fleetcd/inhibit.d"), Path("/run/fleetcd/inhibit.d"))
    status: Literal["none"] | Path = Path("/run/fleetcd/status.sock")


@dataclass(frozen=True, slots=True)
class Machine:
    """`exit`: end with status 75, a supervisor restarts the agent; else a command to run."""

    reboot: Literal["exit"] | tuple[str, ...] = ("systemctl", "reboot")


@dataclass(frozen=True, slots=True)
class Poll:
    """Seconds; `interval` counts until a manifest hints otherwise; a device that no fleet has yet
    polls every minute for an hour. `step_timeout` bounds a poll with all the work it leads to."""

    interval: float = 300.0
    jitter: float = 0.2
    initial_delay: float = 30.0
    step_timeout: float = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Reports:
    """Seconds between heartbeats; 5 minutes at most while the device's fleet rolls out."""

    heartbeat: float = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Local:
    """What an installation by hand needs to know."""

    device: Device
    server: Server | None = None
    trust: Trust | None = None
    boot: Boot = field(default_factory=Boot)
    modules: Modules = field(default_factory=Modules)
    scripts: Scripts = field(default_factory=Scripts)
    artifacts: Artifacts = field(default_factory=Artifacts)
    owner: Owner = field(default_factory=Owner)
    machine: Machine = field(default_factory=Machine)
    poll: Poll = field(default_factory=Poll)
    reports: Reports = field(default_factory=Reports)

    @property
    def journal(self) -> Path:
        return self.device.state / "journal.db"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(Local):
    """What a device of a fleet needs to know."""

    server: Server
    trust: Trust


def load(path: Path) -> Settings:
    """Return the configuration in `path`. Raises Misconfigured."""
    return parse(_read(path), path)


def load_local(path: Path) -> Local:
    """Return what `path` says to an installation by hand; the default file may be missing."""
    if path == DEFAULT_PATH and not path.exists():
        return Local(device=Device(name=_hostname()))
    return _parsed(Local, _read(path), path)


def _hostname() -> str:
    name = os.uname().nodename.lower()
    return name if NAME.fullmatch(name) else "device"


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(LIMIT + 1)
    except OSError as error:
        raise Misconfigured(f"{path}: {error.strerror}; name it with --config") from error
    if len(data) > LIMIT:
        raise Misconfigured(f"{path}: more than {LIMIT} bytes")
    return data


def parse(data: bytes, path: Path) -> Settings:
    """Return the configuration in `data`, as it lies at `path`. Raises Misconfigured."""
    return _parsed(Settings, data, path)


def _parsed(kind: type[LocalT], data: bytes, path: Path) -> LocalT:
    try:
        document = tomllib.loads(data.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Misconfigured(f"{path}: {error}") from error
    settings = _section(kind, document, path, "")
    _check(settings, path)
    return settings


def _check(settings: Local, path: Path) -> None:
    if not NAME.fullmatch(settings.device.name):
        raise Misconfigured(
            f"{path}: device.name: {settings.device.name!r} is not a name; use at most 63 of"
            " a-z, 0-9, '-' and '.'"
        )
    _check_boot(settings.boot, path)
    if not 0 <= settings.poll.jitter < 1:
        raise Misconfigured(f"{path}: poll.jitter: a fraction from 0 to below 1")
    scripts = settings.scripts
    seconds = (scripts.timeout, scripts.retry_interval, scripts.retry_timeout)
    polls = (settings.poll.interval, settings.reports.heartbeat)
    if min(*seconds, *polls, settings.modules.timeout) <= 0:
        raise Misconfigured(f"{path}: intervals and timeouts are more than 0 seconds")


def _check_boot(boot: Boot, path: Path) -> None:
    if boot.bootloader == "none":
        return
    if boot.bootloader == "file" and boot.directory is None:
        raise Misconfigured(f'{path}: boot.directory: needed by bootloader = "file"')
    if set(boot.slots) != {"a", "b"}:
        raise Misconfigured(f"{path}: boot.slots: name exactly the slots a and b")
    if boot.bootloader == "uboot" and not boot.environments:
        raise Misconfigured(
            f'{path}: boot.environments: name the fw_env.config, such as ["/etc/fw_env.config"]'
        )
    if boot.bootloader == "grub" and len(boot.environments) != 2:
        raise Misconfigured(f"{path}: boot.environments: name the two copies of GRUB's block")
    if boot.variables == "mender" and boot.bootloader != "uboot":
        raise Misconfigured(f'{path}: boot.variables: "mender" goes with bootloader = "uboot"')


def _section(kind: type[Section], table: Mapping[str, Any], path: Path, where: str) -> Section:
    hints = typing.get_type_hints(kind)
    known = {item.name: item for item in fields(typing.cast(Any, kind))}
    for key in table:
        if key not in known:
            raise Misconfigured(f"{path}: {where}{key}: unknown key{_suggestion(key, known)}")
    found: dict[str, Any] = {}
    for name, item in known.items():
        if name in table:
            found[name] = _value(hints[name], table[name], path, f"{where}{name}")
        elif item.default is MISSING and item.default_factory is MISSING:
            raise Misconfigured(f"{path}: {where}{name}: missing")
    return kind(**found)


def _suggestion(key: str, known: Mapping[str, object]) -> str:
    near = difflib.get_close_matches(key, known, n=1)
    return f"; did you mean {near[0]}?" if near else f"; known are {', '.join(sorted(known))}"


def _value(kind: Any, value: Any, path: Path, where: str) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return _value(_fitting(arguments, value), value, path, where)
    if origin is Literal:
        if value not in arguments:
            raise Misconfigured(f"{path}: {where}: one of {', '.join(map(repr, arguments))}")
        return value
    if origin is tuple:
        _expect(list, value, path, where)
        return tuple(_value(arguments[0], item, path, where) for item in value)
    if origin is Mapping:
        _expect(dict, value, path, where)
        return {
            key: _value(arguments[1], item, path, f"{where}.{key}") for key, item in value.items()
        }
    if kind is Path:
        return path.parent.absolute() / _expect(str, value, path, where)
    if kind is float:
        return float(_expect(int if type(value) is int else float, value, path, where))
    if kind is str:
        return _expect(str, value, path, where)
    return _section(kind, _expect(dict, value, path, where), path, f"{where}.")


def _fitting(arguments: tuple[Any, ...], value: Any) -> Any:
    """Return the one of a union's types that `value` is meant for."""
    options = [option for option in arguments if option is not type(None)]
    words = [option for option in options if typing.get_origin(option) is Literal]
    if any(value in typing.get_args(option) for option in words if isinstance(value, str)):
        return words[0]
    lists = isinstance(value, list)
    others = [option for option in options if option not in words]
    fitting = [option for option in others if (typing.get_origin(option) is tuple) == lists]
    return (fitting or words or options)[0]


_WORDS = {str: "text in quotes", float: "a number", list: "a list", dict: "a table"}


def _expect(kind: type, value: Any, path: Path, where: str) -> Any:
    if type(value) is not kind:
        raise Misconfigured(f"{path}: {where}: {_WORDS[kind]} expected, not {value!r}")
    return value
