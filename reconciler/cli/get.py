"""`fleetcd get`, `fleetcd device` and `fleetcd rollout`: the operator's view, over the gateway.

Exit status of `rollout status`: 0 completed, 3 stopped (halted, paused, rolled back, aborted or
superseded), 4 not finished when the time was up; without `-w` the time is up at once.
"""

import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import quote

import typer

from reconciler.cli.operator_tables import (
    CONDITIONS,
    DEVICES,
    FLEETS,
    RELEASES,
    ROLLOUTS,
    Columns,
    Item,
    Output,
    rendered,
    show,
)
from reconciler.errors import ReconcilerError
from schemas.wire.report import EnrolState
from schemas.wire.status import Phase

if TYPE_CHECKING:
    from reconciler.cli.operator_client import OperatorClient

COMPLETED, STOPPED, UNFINISHED = 0, 3, 4
KEY_DIGITS = 64  # of a whole key
_ROLLOUT = re.compile("r-[0-9a-f]{8}")
_KEY = re.compile("(?:sha256:)?([0-9a-f]{8,64})")
_STOPPED = frozenset(
    {
        Phase.PAUSED,
        Phase.HALTED,
        Phase.ROLLING_BACK,
        Phase.ROLLED_BACK,
        Phase.SUPERSEDED,
        Phase.ABORTED,
    }
)

Url = Annotated[
    str | None,
    typer.Option("--url", envvar="FLEETCD_URL", help="The gateway, https://host:port."),
]
Token = Annotated[
    str | None,
    typer.Option("--token", envvar="FLEETCD_TOKEN", help="The operator token.", show_envvar=True),
]
Ca = Annotated[
    Path | None,
    typer.Option("--ca", envvar="FLEETCD_CA", help="The authority to trust, in PEM."),
]
Format = Annotated[Output, typer.Option("-o", "--output", help="table, json or yaml.")]
Watch = Annotated[bool, typer.Option("-w", "--watch", help="Show it again when it changes.")]
Every = Annotated[float, typer.Option(min=0.2, max=3600, help="Seconds between looks with -w.")]
Timeout = Annotated[
    float, typer.Option(min=0, max=604_800, help="Seconds after which -w ends by itself.")
]
Reason = Annotated[str, typer.Option("--reason", help="Why; it is kept in the audit log.")]

get_app = typer.Typer(help="Show what is published and known.", no_args_is_help=True)
device_app = typer.Typer(help="Decide which devices may join.", no_args_is_help=True)
rollout_app = typer.Typer(help="Follow rollouts.", no_args_is_help=True)


@get_app.command()
def fleets(
    url: Url = None,
    token: Token = None,
    ca: Ca = None,
    output: Format = Output.TABLE,
    watch: Watch = False,
    every: Every = 2,
    timeout: Timeout = 3600,
) -> None:
    """Show fleets: what is stable, what is wanted, and how far the rollout is."""
    looks = _looks(every, timeout if watch else 0)
    _show(_client(url, token, ca), "/fleets", {}, FLEETS, output, looks)


@get_app.command()
def rollouts(
    url: Url = None,
    token: Token = None,
    ca: Ca = None,
    output: Format = Output.TABLE,
    watch: Watch = False,
    every: Every = 2,
    timeout: Timeout = 3600,
) -> None:
    """Show every fleet's rollout with its stages and the reason for where it is."""
    looks = _looks(every, timeout if watch else 0)
    _show(_client(url, token, ca), "/rollouts", {}, ROLLOUTS, output, looks)


@get_app.command()
def releases(
    url: Url = None,
    token: Token = None,
    ca: Ca = None,
    output: Format = Output.TABLE,
    watch: Watch = False,
    every: Every = 2,
    timeout: Timeout = 3600,
) -> None:
    """Show the releases in use, and where."""
    looks = _looks(every, timeout if watch else 0)
    _show(_client(url, token, ca), "/releases", {}, RELEASES, output, looks)


@get_app.command()
def devices(
    url: Url = None,
    token: Token = None,
    ca: Ca = None,
    output: Format = Output.TABLE,
    watch: Watch = False,
    every: Every = 2,
    timeout: Timeout = 3600,
    fleet: Annotated[str | None, typer.Option(help="Only of this fleet.")] = None,
    selector: Annotated[
        str | None, typer.Option("-l", "--selector", help="Only with these labels: site=paris")
    ] = None,
    state: Annotated[EnrolState | None, typer.Option(help="Only in this state.")] = None,
) -> None:
    """Show devices: what they run and when they were last heard."""
    wanted = {"fleet": fleet, "selector": selector, "state": state}
    given = {name: value for name, value in wanted.items() if value is not None}
    looks = _looks(every, timeout if watch else 0)
    _show(_client(url, token, ca), "/devices", given, DEVICES, output, looks)


@get_app.command()
def conditions(
    url: Url = None,
    token: Token = None,
    ca: Ca = None,
    output: Format = Output.TABLE,
    watch: Watch = False,
    every: Every = 2,
    timeout: Timeout = 3600,
) -> None:
    """Show how the reconciler is: Git, the newest commit, the published tree, the database."""
    looks = _looks(every, timeout if watch else 0)
    _show(_client(url, token, ca), "/conditions", {}, CONDITIONS, output, looks)


@device_app.command()
def accept(
    device: Annotated[str, typer.Argument(help="A device's name, key, or how its key begins.")],
    reason: Reason,
    label: Annotated[
        list[str] | None, typer.Option("--label", help="key=value to assign; may be repeated.")
    ] = None,
    url: Url = None,
    token: Token = None,
    ca: Ca = None,
) -> None:
    """Let a device join."""
    labels = dict(map(_label, label or []))
    _rule(_client(url, token, ca), device, "accept", {"reason": reason, "labels": labels})


@device_app.command()
def reject(
    device: Annotated[str, typer.Argument(help="A device's name, key, or how its key begins.")],
    reason: Reason,
    url: Url = None,
    token: Token = None,
    ca: Ca = None,
) -> None:
    """Hear this device no longer. It keeps what it runs."""
    _rule(_client(url, token, ca), device, "reject", {"reason": reason})


@rollout_app.callback()
def _rollouts() -> None:
    """Follow rollouts."""  # a callback keeps `status` a command of its own


@rollout_app.command()
def status(
    name: Annotated[str, typer.Argument(help="A fleet, or a rollout such as r-8be01aa2.")],
    url: Url = None,
    token: Token = None,
    ca: Ca = None,
    output: Format = Output.TABLE,
    watch: Watch = False,
    every: Every = 2,
    timeout: Timeout = 3600,
) -> None:
    """Show a rollout, with -w until it ends. Exits with 0 completed, 3 stopped, 4 unfinished."""
    client = _client(url, token, ca)
    shown = ""
    for _ in _looks(every, timeout if watch else 0):
        rollout = _rollout(client, name)
        if rollout is None:
            typer.echo(f"{name}: nothing is being rolled out")
            raise typer.Exit(COMPLETED)
        text = rendered([rollout], ROLLOUTS, output)
        if text != shown:
            shown = text
            show([rollout], ROLLOUTS, output)
            _warn(client)
        if rollout["phase"] == Phase.COMPLETED:
            raise typer.Exit(COMPLETED)
        if rollout["phase"] in _STOPPED:
            raise typer.Exit(STOPPED)
    raise typer.Exit(UNFINISHED)


def _client(url: str | None, token: str | None, ca: Path | None) -> "OperatorClient":
    from reconciler.cli.operator_client import OperatorClient, access

    return OperatorClient(access(url, token, ca))


def _looks(every: float, timeout: float) -> Iterator[None]:
    """Yield once, and again every so many seconds until `timeout` seconds have passed."""
    end = time.monotonic() + timeout
    yield
    while time.monotonic() + every <= end:
        time.sleep(every)
        yield


def _show(
    client: "OperatorClient",
    path: str,
    asked: Mapping[str, str],
    columns: Columns,
    output: Output,
    looks: Iterator[None],
) -> None:
    shown = ""
    for _ in looks:
        items = list(client.all(path, **asked))
        text = rendered(items, columns, output)
        if text != shown:
            shown = text
            show(items, columns, output)
            if columns is not CONDITIONS:
                _warn(client)


def _warn(client: "OperatorClient") -> None:
    """Say on standard error what keeps the newest commit from being what is shown."""
    for each in client.all("/conditions"):
        if not each["status"]:
            typer.echo(f"{each['type']} is false: {each['message'] or each['reason']}", err=True)


def _rollout(client: "OperatorClient", name: str) -> Item | None:
    if not _ROLLOUT.fullmatch(name):
        current: Item | None = client.get(f"/fleets/{quote(name, safe='')}")["rollout"]
        return current
    found = client.get(f"/rollouts/{quote(name, safe='')}")
    if found["rollout"] is None:
        last = found["decisions"][0]
        raise ReconcilerError(f"{name} is over: {last['kind']} at {last['at']}: {last['reason']}")
    rollout: Item = found["rollout"]
    return rollout


def _rule(client: "OperatorClient", device: str, verb: str, body: dict[str, object]) -> None:
    key = _key_of(client, device)
    ruled = client.post(f"/devices/{key}/{verb}", body)
    typer.echo(f"{ruled['name']} ({key}): {ruled['state']}")


def _key_of(client: "OperatorClient", device: str) -> str:
    """Return the one key that `device` names: a name, a key, or how a key begins."""
    found = [each["key"] for each in client.all("/devices", name=device)]
    digits = _KEY.fullmatch(device)
    if digits and not found:
        found = _keys_from(client, digits[1])
    if len(found) == 1:
        return str(found[0])
    if not found:
        raise ReconcilerError(f"no device is called {device!r}: see `fleetcd get devices`")
    raise ReconcilerError(f"{device!r} fits several keys, name one: {', '.join(found)}")


def _keys_from(client: "OperatorClient", digits: str) -> list[str]:
    """Return up to two keys that begin with `digits`: keys come in order, so a page is enough."""
    begin = f"sha256:{digits}"
    if len(digits) == KEY_DIGITS:
        return [begin]
    page = client.get("/devices", after=begin, limit=2)
    return [each["key"] for each in page["items"] if each["key"].startswith(begin)]


def _label(text: str) -> tuple[str, str]:
    from schemas.kinds.values import DESCRIBED, LABEL

    key, separator, value = text.partition("=")
    if not separator:
        raise typer.BadParameter(f"{text!r} is not key=value", param_hint="--label")
    if not (re.fullmatch(LABEL, key) and re.fullmatch(LABEL, value)):
        raise typer.BadParameter(
            f"{text!r}: key and value are {DESCRIBED[LABEL]}", param_hint="--label"
        )
    return key, value
