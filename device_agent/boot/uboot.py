"""U-Boot's environment, read and written by the tools of libubootenv."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from device_agent import process
from device_agent.errors import InstallFailed
from schemas.wire.report import FailureClass

SEQUENCE = "fleetcd_seq"  # hexadecimal, as U-Boot's setexpr counts

_TIMEOUT = 30.0  # seconds for one call; the tools wait for each other's lock
_OUTPUT = 1024 * 1024  # bytes of an environment
_CONFIG = 64 * 1024  # bytes of a fw_env.config
_LARGEST = 0xFFFFFFFF
_LINE = 1023  # bytes of a script's line that fw_setenv takes; it ignores the rest


@dataclass(frozen=True, slots=True)
class _Copy:
    """An environment as it is stored. A torn or corrupt one has no variables."""

    config: Path
    variables: Mapping[str, str]

    @property
    def sequence(self) -> int:
        try:
            return int(self.variables.get(SEQUENCE, "0"), 16) & _LARGEST
        except ValueError:
            return 0

    @property
    def age(self) -> tuple[bool, int]:
        """Sort key: no environment at all, then the oldest."""
        return bool(self.variables), self.sequence


class UBootVariables:
    """The environment that each of `configs` (a fw_env.config) describes; several are copies.

    One with two places is U-Boot's own redundant pair, which the tools handle. One with a single
    place can be lost to a power cut; two such, each in a place of its own, cannot: they are written
    one after the other, the older first, and the newest intact one counts. `environment` is that of
    the tools, for its PATH.
    """

    def __init__(self, configs: Sequence[Path], environment: Mapping[str, str]) -> None:
        self._configs = tuple(configs)
        self._environment = dict(environment)

    def read(self) -> Mapping[str, str]:
        return dict(self._newest(self._copies()).variables)

    def write(self, changes: Mapping[str, str]) -> None:
        """Bring every copy to the newest one's variables and `changes`, each in one store.

        fw_setenv returns when the bytes are on the device (fsync); the next copy is begun then.
        """
        copies = self._copies()
        newest = self._newest(copies)
        merged = {**newest.variables, **changes}
        wanted = {name: value for name, value in merged.items() if value}
        if len(copies) > 1 and any(copy.variables != wanted for copy in copies):
            wanted[SEQUENCE] = f"{(newest.sequence + 1) & _LARGEST:x}"
        oldest_first = sorted(copies, key=lambda copy: (copy is newest, copy.age))
        scripts = [(copy, _script(copy, wanted)) for copy in oldest_first]
        for copy, script in scripts:
            self._store(copy, script, wanted)

    def _copies(self) -> list[_Copy]:
        return [_Copy(config, self._load(config)) for config in self._configs]

    def _newest(self, copies: Sequence[_Copy]) -> _Copy:
        """Raises InstallFailed when no copy is intact: what it held cannot be made up here."""
        newest = max(copies, key=lambda copy: copy.age)
        if newest.variables:
            return newest
        raise _failed(
            f"no intact U-Boot environment by {', '.join(map(str, self._configs))}: correct"
            " boot.environments, or restart the device so that U-Boot saves a new one"
        )

    def _load(self, config: Path) -> dict[str, str]:
        """Return a copy's variables, none when its checksum is wrong.

        Without the empty default environment the tool would print U-Boot's defaults instead.
        """
        printed = self._call("fw_printenv", config)
        lines = printed.decode("utf-8", "backslashreplace").splitlines()
        pairs = (line.partition("=") for line in lines)
        return {name: value for name, is_pair, value in pairs if name and is_pair}

    def _store(self, copy: _Copy, script: str, wanted: Mapping[str, str]) -> None:
        """Make `copy` hold `wanted`, in one store: two for a pair, so that both halves do."""
        stores = _places(copy.config)
        if stores == 1 and not script:
            return
        for _ in range(stores):
            self._set(copy.config, script)
        if self._load(copy.config) != wanted:
            raise _failed(
                f"the U-Boot environment by {copy.config} does not hold what was written to it:"
                " the storage may be failing"
            )

    def _set(self, config: Path, script: str) -> None:
        """Run one fw_setenv, which stores every line of `script` (`name=value`) or none."""
        with os.fdopen(os.memfd_create("fw_setenv", os.MFD_CLOEXEC), "wb", buffering=0) as file:
            file.write(script.encode())
            self._call("fw_setenv", config, "-s", f"/proc/{os.getpid()}/fd/{file.fileno()}")

    def _call(self, tool: str, config: Path, *more: str) -> bytes:
        argv = (tool, "-c", str(config), "-f", os.devnull, *more)
        try:
            done = process.run(
                argv, timeout=_TIMEOUT, environment=self._environment, output_limit=_OUTPUT
            )
        except FileNotFoundError as error:
            raise _failed(
                f"{tool} is not installed: install libubootenv-tool (Debian) or libubootenv-bin"
                " (Yocto)"
            ) from error
        except OSError as error:
            raise _failed(f"{tool} cannot be started: {error.strerror}") from error
        if not done.ok or done.truncated:
            what = f"printed more than {_OUTPUT} bytes" if done.truncated else str(done)
            raise _failed(
                f"{tool} with {config} {what}; check that this file names the place and size of"
                " U-Boot's environment, and that it is writable"
            )
        return done.stdout


def _script(copy: _Copy, wanted: Mapping[str, str]) -> str:
    """Return the lines (`name=value`) that make `copy` hold `wanted`. Raises InstallFailed."""
    lines = [f"{name}=" for name in copy.variables if name not in wanted]
    for name, value in wanted.items():
        if copy.variables.get(name) != value:
            lines.append(f"{name}={value}")
    for line in lines:
        if len(line.encode()) > _LINE:
            raise _failed(
                f"U-Boot variable {line.partition('=')[0]} has a value of more than {_LINE} bytes,"
                f" which fw_setenv would cut off: shorten it in the environment by {copy.config}"
            )
    return "".join(f"{line}\n" for line in lines)


def _places(config: Path) -> int:
    """Return how many places a fw_env.config names: 2 for a redundant pair."""
    try:
        with config.open("rb") as file:
            lines = file.read(_CONFIG).splitlines()
    except OSError as error:
        raise _failed(f"boot.environments: {config}: {error.strerror}") from error
    return max(1, sum(1 for line in lines if line.strip() and not line.lstrip().startswith(b"#")))


def _failed(message: str) -> InstallFailed:
    return InstallFailed(message, FailureClass.REBOOT)
