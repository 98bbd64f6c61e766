"""How long it takes to read a fleet repository of 5,000 devices.

The peer is PyYAML's C loader with its safe constructor over the same bytes: it checks nothing,
keeps no positions, and builds no Desired.
"""

import gc
from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path

import yaml

from reconciler.adapters.yaml_loader import Loader
from reconciler.domain.build import build
from reconciler.domain.desired import Desired
from reconciler.ports import RepoFile
from tests.bench.figures import Figure, Peer, Scale, seconds
from tests.support.fleet_yaml import COMMIT, fleet, release

DEVICES = {Scale.FULL: 5000, Scale.TINY: 20}
REPEATS = {Scale.FULL: 5, Scale.TINY: 1}
IN_A_LIST = 250


def load(scale: Scale, directory: Path) -> tuple[Figure, ...]:
    """Load devices from a file each, and from lists of 250: cold, then after one file changed."""
    count = DEVICES[scale]
    return (
        *_loaded(f"{count:,} devices, a file each", _files(count), REPEATS[scale], count),
        *_loaded(f"{count:,} devices, in lists", _lists(count), REPEATS[scale], count),
    )


def _loaded(name: str, texts: Mapping[str, str], repeats: int, count: int) -> tuple[Figure, ...]:
    before = _Repository({**texts, **_rest()})
    first = next(iter(texts))
    after = _Repository({**before.texts, first: before.texts[first] + "# changed\n"})
    colds, warms, peers = [], [], []
    for _ in range(repeats):
        loader = Loader()
        gc.collect()
        colds.append(seconds(lambda: before.read(loader, count)))  # noqa: B023 - called at once
        warms.append(seconds(lambda: after.read(loader, count)))  # noqa: B023 - called at once
        peers.append(seconds(before.read_unchecked))
    what = f"yaml.CSafeLoader on the same {before.size / 1e6:.2f} MB"
    peer = Peer(what, tuple(took * 1e3 for took in peers))
    return (
        Figure(f"load, {name}, cold", "ms", tuple(took * 1e3 for took in colds), peer),
        Figure(f"load, {name}, one file changed", "ms", tuple(t * 1e3 for t in warms), peer),
    )


class _Repository:
    """The files of one commit, in memory."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self.texts = texts
        data = {path: text.encode() for path, text in texts.items()}
        self._blobs = {sha256(blob).hexdigest(): blob for blob in data.values()}
        self._files = tuple(
            RepoFile(path, sha256(blob).hexdigest(), len(blob)) for path, blob in data.items()
        )
        self.size = sum(file.size for file in self._files)

    def read(self, loader: Loader, devices: int) -> None:
        desired = build(loader.load(self._files, self._read), commit=COMMIT, committed_at=None)
        assert isinstance(desired, Desired)
        assert len(desired.devices) == devices

    def read_unchecked(self) -> None:
        for blob in self._blobs.values():
            assert list(yaml.load_all(blob, Loader=yaml.CSafeLoader))

    def _read(self, blobs: Iterable[str]) -> Mapping[str, bytes]:
        return {blob: self._blobs[blob] for blob in blobs}


def _rest() -> Mapping[str, str]:
    return {"fleets/kiosks.yaml": fleet(), "releases/demo-os/1.yaml": release()}


def _files(count: int) -> Mapping[str, str]:
    return {
        f"inventory/{name}.yaml": (
            "apiVersion: fleetcd/v1\nkind: Device\nmetadata:\n"
            f"  name: {name}\n"
            f"  labels: {{product: kiosk, stage: prod, site: site-{number % 97:02}}}\n"
            f'spec:\n  key: "{_key(name)}"\n'
        )
        for number, name in enumerate(_names(count))
    }


def _lists(count: int) -> Mapping[str, str]:
    names = _names(count)
    lists = [names[start : start + IN_A_LIST] for start in range(0, count, IN_A_LIST)]
    return {
        f"inventory/site-{number:02}.yaml": (
            "apiVersion: fleetcd/v1\nkind: DeviceList\nmetadata:\n"
            f"  name: site-{number:02}\nspec:\n  defaults:\n"
            f"    labels: {{product: kiosk, stage: prod, site: site-{number:02}}}\n  devices:\n"
            + "".join(f'    - name: {name}\n      key: "{_key(name)}"\n' for name in listed)
        )
        for number, listed in enumerate(lists)
    }


def _names(count: int) -> list[str]:
    return [f"kiosk-{number:05}" for number in range(count)]


def _key(name: str) -> str:
    return f"sha256:{sha256(name.encode()).hexdigest()}"
