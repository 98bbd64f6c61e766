"""A whole installation on loopback: repository, keys, reconciler, gateway, tree and devices.

The demo plays on it, and so do the end-to-end tests.
"""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import requests

from reconciler.adapters.dir_initialise import Initialised, initialise
from reconciler.adapters.dir_release import NewRelease, add_release
from reconciler.adapters.dir_repository import commit_and_push
from reconciler.adapters.signers import load_signer
from reconciler.adapters.tree_view import TreeView
from reconciler.demo.devices import AGENT, VirtualDevice, make_device, start_devices
from reconciler.demo.image import HEALTH_CHECK, write_image
from reconciler.demo.story import FLEET, Scene
from reconciler.errors import Unavailable
from schemas.wire.status import FleetStatus

LOOPBACK = "127.0.0.1"
START_WITHIN = 20.0  # seconds until the gateway must answer
STOP_WITHIN = 15.0
API_TIMEOUT = 10.0

POLICY = """\
apiVersion: fleetcd/v1
kind: RolloutPolicy
metadata:
  name: demo
spec:
  stages:
    - {name: canary, count: 2, soak: 1s}
    - {name: all, percent: 100}
  gate: {success: 100, minFinished: 2, attemptTimeout: 1m, reportLost: 1m}
  onFailure: rollback
"""

ROLLOUTS = """
[rollouts]
poll = 2
poll_rolling = 1
fresh_for = 60
heartbeat = 10
heartbeat_rolling = 5
tick = 0.3
"""


class Stack:
    """One installation in `directory` (absent or empty). A context manager: ends what it began.

    `agent` is the module that devices run. `others` are the releases that the fleet asks for
    besides its os, by component.
    """

    def __init__(
        self, directory: Path, *, devices: int, policy: str = POLICY, agent: str = AGENT
    ) -> None:
        self.directory = directory.resolve()
        self.others: dict[str, str] = {}
        self._count, self._policy, self._agent = devices, policy, agent
        self._supervisors: dict[tuple[str, ...], subprocess.Popen[bytes]] = {}
        self._reconciler: subprocess.Popen[bytes] | None = None
        self.devices: tuple[VirtualDevice, ...] = ()

    def prepare(self) -> None:
        """Make keys, tree, certificates, repository and devices; release and ship version 1."""
        listen = f"{LOOPBACK}:{free_port()}"
        self.made: Initialised = initialise(
            self.directory / "server", datetime.now(UTC), listen=listen
        )
        with self.made.config.open("a", encoding="utf-8") as file:
            file.write(ROLLOUTS)
        self.view = TreeView(self.made.tree)
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.verify = str(self.made.ca)
        self.session.headers["Authorization"] = f"Bearer {self.made.operator_token}"
        self.devices = tuple(self._device(number) for number in range(1, self._count + 1))
        self._inventory(self.devices[:-1])
        (self.made.clone / "policies" / "demo.yaml").write_text(self._policy, encoding="utf-8")
        self.ship("1", health="good", message="Ship demo-os 1")

    def start(self) -> None:
        """Start reconciler, gateway and tree server, then the devices."""
        self.start_reconciler()
        self.power_on(*self.devices)

    def power_on(self, *devices: VirtualDevice) -> None:
        """Start `devices` under one supervisor."""
        log = self.directory / "devices.log"
        with signals_held_back():
            supervisor = start_devices(devices, log, agent=self._agent)
            self._supervisors[tuple(device.name for device in devices)] = supervisor

    def power_off(self, *devices: VirtualDevice) -> None:
        """Cut the power of devices that were switched on together."""
        supervisor = self._supervisors.pop(tuple(device.name for device in devices))
        with suppress(ProcessLookupError):  # its power was cut already
            os.killpg(supervisor.pid, signal.SIGKILL)
        supervisor.wait(STOP_WITHIN)

    def has_power(self, *devices: VirtualDevice) -> bool:
        """Return whether devices that were switched on together have not lost power since."""
        return self._supervisors[tuple(device.name for device in devices)].poll() is None

    def start_reconciler(self, *parts: str) -> None:
        command = [sys.executable, "-m", "reconciler", "run", *parts]
        with (self.directory / "reconciler.log").open("ab") as log, signals_held_back():
            self._reconciler = subprocess.Popen(
                [*command, "--config", str(self.made.config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        wait_until(self._answers, START_WITHIN, "the gateway answers")

    def stop_reconciler(self) -> None:
        if self._reconciler is not None:
            self.session.close()  # an open connection would delay the server's end
            end(self._reconciler)
            self._reconciler = None

    def _answers(self) -> bool:
        try:
            return self.session.get(f"{self.made.url}/readyz", timeout=API_TIMEOUT).ok
        except requests.ConnectionError:
            if self._reconciler is not None and self._reconciler.poll() is not None:
                log = (self.directory / "reconciler.log").read_text(encoding="utf-8")
                raise Unavailable(f"the reconciler ended at once:\n{log[-2000:]}") from None
            return False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End every process that was started. Again: no effect."""
        for supervisor in self._supervisors.values():
            end(supervisor)
        self._supervisors.clear()
        self.stop_reconciler()

    # What the story asks for (reconciler/demo/story.py)

    def scene(self) -> Scene:
        return Scene(
            self.status(),
            {device.name: device.running_version() for device in self.devices},
            self._waiting(),
        )

    def status(self) -> FleetStatus | None:
        return self.view.statuses().get(FLEET)

    def accept_waiting(self) -> None:
        for item in self._pending():
            self.api(
                "POST",
                f"devices/{item['key']}/accept",
                json={"reason": "the demo's person", "labels": {"product": "kiosk"}},
            )

    def ship(self, version: str, *, health: str, message: str) -> str:
        self.release(version, health=health)
        self.want(version)
        return self.commit(message)

    def revert(self) -> str:
        git(self.made.clone, "revert", "--no-edit", "HEAD")
        git(self.made.clone, "push", "--quiet")
        return git(self.made.clone, "rev-parse", "HEAD")

    def ever_held(self, version: str) -> frozenset[str]:
        return frozenset(d.name for d in self.devices if version in d.held_versions())

    # Smaller steps, for tests

    def release(self, version: str, *, health: str) -> None:
        image = self.directory / f"demo-os-{version}.img"
        write_image(image, version, health=health)
        add_release(
            NewRelease("demo-os", version, image, checks=(HEALTH_CHECK,), within="2s"),
            repository=self.made.clone,
            tree=self.made.tree,
            signers=(load_signer(f"file:{self.made.keys / 'release.pem'}"),),
            now=datetime.now(UTC),
        )

    def want(self, version: str) -> None:
        """Write the fleet file that asks for `version`, and for `others`."""
        others = "".join(f'    {name}: "{ref}"\n' for name, ref in self.others.items())
        (self.made.clone / "fleets" / f"{FLEET}.yaml").write_text(
            "apiVersion: fleetcd/v1\nkind: Fleet\n"
            f"metadata:\n  name: {FLEET}\n"
            "spec:\n  selector: product=kiosk\n"
            f'  components:\n    os: "demo-os@{version}"\n{others}  policy: demo\n',
            encoding="utf-8",
        )

    def commit(self, message: str) -> str:
        return commit_and_push(self.made.clone, message)

    def api(self, method: str, path: str, **arguments: Any) -> Any:
        """Call the operator API and return its JSON."""
        url = f"{self.made.url}/api/v1/{path}"
        answer = self.session.request(method, url, timeout=API_TIMEOUT, **arguments)
        answer.raise_for_status()
        return answer.json()

    def _pending(self) -> list[dict[str, Any]]:
        try:
            items: list[dict[str, Any]] = self.api("GET", "devices?state=pending")["items"]
        except requests.RequestException:
            return []  # the gateway is starting, or was killed by a test
        return items

    def _waiting(self) -> tuple[str, ...]:
        return tuple(sorted(item["name"] for item in self._pending()))

    def _device(self, number: int) -> VirtualDevice:
        return make_device(
            self.directory / "devices" / f"kiosk-{number:02}",
            f"kiosk-{number:02}",
            tree=f"{self.made.url}/tree",
            gateway=self.made.url,
            ca=self.made.ca,
            root=self.made.root,
        )

    def _inventory(self, devices: tuple[VirtualDevice, ...]) -> None:
        lines = [f'    - {{name: {d.name}, key: "{d.key}"}}' for d in devices]
        (self.made.clone / "inventory" / "demo.yaml").write_text(
            "apiVersion: fleetcd/v1\nkind: DeviceList\nmetadata:\n  name: demo\nspec:\n"
            "  defaults:\n    labels: {product: kiosk}\n  devices:\n" + "\n".join(lines) + "\n",
            encoding="utf-8",
        )


@contextmanager
def signals_held_back() -> Iterator[None]:
    """Let the signals that end a demo wait until the block is left.

    What was started in it is known by then, and is ended with the rest.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # Python runs signal handlers in the main thread only
        return
    came = list[int]()
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, lambda number, _: came.append(number)) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
        for late in came[:1]:
            signal.raise_signal(late)


def free_port() -> int:
    """Return a TCP port that is free now on loopback."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until(true: Callable[[], bool], seconds: float, what: str) -> None:
    """Return when `true()`; raise TimeoutError that says `what` did not come about."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.1)


def end(process: subprocess.Popen[bytes]) -> None:
    """Ask the process to end, and kill it if it does not."""
    process.terminate()
    try:
        process.wait(STOP_WITHIN)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def git(directory: Path, *arguments: str) -> str:
    """Run git in a working clone; return its output. Raises Unavailable with what Git said."""
    identity = ["-c", "user.name=fleetcd demo", "-c", "user.email=demo@fleetcd.invalid"]
    result = subprocess.run(
        ["git", *identity, *arguments],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if result.returncode:
        raise Unavailable(f"git {arguments[0]}: {re.sub(r'[^ -~]', ' ', result.stderr)[:500]}")
    return result.stdout.strip()
