"""A fleet on a real stack, in the words that the stories use."""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from reconciler.demo.devices import VirtualDevice
from reconciler.demo.stack import Stack, wait_until
from schemas.order import order
from schemas.wire.status import FleetStatus, Phase, Rollout

PATIENCE = 90.0  # seconds; a story that takes longer has failed


class Fleet:
    """The devices of a stack; each may lose power by itself."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self._powered: set[str] = set()

    def begin(self) -> None:
        """Bring every device to version 1."""
        self.stack.prepare()
        self.stack.start_reconciler()
        self.power_on(*self.stack.devices)
        wait_until(lambda: len(self.stack.scene().waiting) == 1, PATIENCE, "one device is pending")
        self.stack.accept_waiting()
        self.wait_all_run(1)
        self.wait_phase(Phase.COMPLETED)

    def power_on(self, *devices: VirtualDevice) -> None:
        for device in devices:
            if device.name not in self._powered:
                self._powered.add(device.name)
                self.stack.power_on(device)

    def power_off(self, *devices: VirtualDevice) -> None:
        for device in devices:
            if device.name in self._powered:
                self._powered.remove(device.name)
                self.stack.power_off(device)

    def restore_power(self) -> None:
        """Switch on the devices whose power was cut by somebody else."""
        for device in self.stack.devices:
            if device.name in self._powered and not self.stack.has_power(device):
                self.power_off(device)
                self.power_on(device)

    def ship(self, *, health: str = "good") -> str:
        """Push the next version, wait until its rollout has begun, and return it as text."""
        version = self.push(health=health)
        self.wait_rollout_of(version)
        return version

    def push(self, *, health: str = "good") -> str:
        """Commit and push the next version and return it as text."""
        version = self._next()
        self.stack.ship(version, health=health, message=f"Ship demo-os {version}")
        return version

    def _next(self) -> str:
        images = self.stack.directory.glob("demo-os-*.img")
        return str(max(int(re.sub(r"\D", "", image.name)) for image in images) + 1)

    @property
    def status(self) -> FleetStatus:
        status = self.stack.status()
        assert status is not None
        return status

    @property
    def rollout(self) -> Rollout:
        rollout = self.status.rollout
        assert rollout is not None
        return rollout

    def wait_rollout_of(self, version: str) -> None:
        wanted = f"os=demo-os@{version}"
        wait_until(
            lambda: wanted in self.status.desired_text.split() and bool(self.rollout.exposure),
            PATIENCE,
            f"a rollout of {wanted} has begun",
        )

    def wait_phase(self, phase: Phase) -> None:
        wait_until(lambda: self.rollout.phase is phase, PATIENCE, f"the rollout is {phase}")

    def wait_all_run(self, version: int | str) -> None:
        wait_until(
            lambda: self.versions() == {str(version)}, PATIENCE, f"every device runs {version}"
        )

    def versions(self) -> set[str | None]:
        return {device.running_version() for device in self.stack.devices}

    def by_order(self) -> list[VirtualDevice]:
        """Return the devices as the open rollout ranks them: canaries first.

        The first stage names its canaries one by one, because it takes the first reachable ones.
        """
        rollout = self.rollout
        named = {place for rule in rollout.exposure[0].rules for place in rule.only or ()}
        places = {device: order(rollout.id, device.name) for device in self.stack.devices}
        return sorted(places, key=lambda device: (places[device] not in named, places[device]))

    @contextmanager
    def only_the_tree(self) -> Iterator[None]:
        """Reconciler and gateway are down; the static tree is still served."""
        self.stack.stop_reconciler()
        self.stack.start_reconciler("tree")
        try:
            yield
        finally:
            self.stack.stop_reconciler()
            self.stack.start_reconciler()

    def log(self, device: VirtualDevice) -> str:
        return (device.directory / "agent.log").read_text(encoding="utf-8", errors="replace")

    def database(self) -> Path:
        return self.stack.made.directory / "state" / "fleetcd.db"

    def rows(self, query: str, *values: str) -> list[tuple[object, ...]]:
        """Return rows of the gateway's database."""
        return rows_of(self.database(), query, *values)

    def journal(self, device: VirtualDevice, query: str) -> list[tuple[object, ...]]:
        """Return rows of a device's journal."""
        return rows_of(device.directory / "state" / "journal.db", query)


def rows_of(database: Path, query: str, *values: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as opened:
        return opened.execute(query, values).fetchall()
