"""A published tree that a test signs itself, whole or wrong in one place."""

import hashlib
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from securesystemslib.formats import encode_canonical
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    SuccinctRoles,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.api.serialization.json import JSONSerializer

from schemas.canonical import shard_of
from schemas.wire.decode import encode, utc_text
from schemas.wire.descriptor import Descriptor
from schemas.wire.manifest import Manifest
from schemas.wire.shard import Shard, ShardEntry

Change = Callable[[dict[str, Any]], None]
KEYS = ("root", "targets", "releases", "online", "timestamp")


class TrustTree:
    """The layout of DESIGN section 4 with four bins, in `directory`. publish() makes it visible."""

    def __init__(self, directory: Path, now: datetime | None = None) -> None:
        self.directory, self.now = directory, (now or datetime.now(UTC)).replace(microsecond=0)
        self.keys = {name: CryptoSigner.generate_ed25519() for name in KEYS}
        self.bins = SuccinctRoles([self.keys["online"].public_key.keyid], 1, 2, "a")
        self.root = Root(expires=self.now + timedelta(days=365), consistent_snapshot=True)
        for role, key in (
            ("root", "root"),
            ("targets", "targets"),
            ("snapshot", "online"),
            ("timestamp", "timestamp"),
        ):
            self.root.add_key(self.keys[key].public_key, role)
        self.targets = {role: self._targets() for role in self.bins.get_roles()}
        self.targets |= {role: self._targets() for role in ("targets", "releases", "assignments")}
        self._delegate()
        self.snapshot = Snapshot(expires=self.now + timedelta(days=90))
        self.timestamp = Timestamp(expires=self.now + timedelta(days=7))
        self.changed = set(self.targets)
        self.write_root()

    def put(self, path: str, data: bytes, role: str | None = None) -> None:
        """Make `path` hold `data` at the next publish(); `role` puts it into a role of choice."""
        role = role or self.role_of(path)
        target = TargetFile.from_data(path, data, ["sha256"])
        self.targets[role].targets[path] = target
        self.changed.add(role)
        folder, _, name = path.rpartition("/")
        self._write(f"targets/{folder}/{target.hashes['sha256']}.{name}", data)

    def put_manifest(self, manifest: Manifest) -> None:
        self.put(f"fleets/{manifest.fleet}.json", encode(manifest))

    def put_entries(self, entries: Mapping[str, ShardEntry]) -> None:
        """Publish device entries by key id; all of one shard."""
        shard = shard_of(next(iter(entries)))
        self.put(f"devices/{shard}.json", encode(Shard(dict(entries))))

    def put_release(self, descriptor: Descriptor) -> None:
        self.add_release_role(descriptor.name)
        self.put(f"releases/{descriptor.name}/{descriptor.version}.json", encode(descriptor))

    def add_release_role(self, name: str) -> None:
        role, key = f"releases-{name}", self.keys["releases"].public_key
        delegations = self.targets["releases"].delegations
        assert delegations is not None
        assert delegations.roles is not None
        if role not in delegations.roles:
            delegations.roles[role] = DelegatedRole(
                role, [key.keyid], 1, True, paths=[f"releases/{name}/*"]
            )
            self.targets[role] = self._targets()
            self.changed |= {role, "releases"}

    def role_of(self, path: str) -> str:
        if path.startswith("releases/"):
            return "releases-" + path.split("/")[1]
        return self.bins.get_role_for_target(path)

    def key_of(self, role: str) -> CryptoSigner:
        if role in KEYS:
            return self.keys[role]
        return self.keys["releases" if role.startswith("releases") else "online"]

    def publish(self, *, issued: datetime | None = None) -> None:
        """Sign what changed with new versions, then snapshot and timestamp."""
        for role in sorted(self.changed):
            if f"{role}.json" in self.snapshot.meta:
                self.targets[role].version += 1
            self.write_targets(role)
        self.changed.clear()
        if self.timestamp.snapshot_meta.length is not None:
            self.snapshot.version += 1
            self.timestamp.version += 1
        self.write_snapshot()
        self.write_timestamp(issued=issued)

    def refresh_timestamp(self, *, issued: datetime | None = None) -> None:
        self.timestamp.version += 1
        self.write_timestamp(issued=issued)

    def rotate(self, name: str) -> None:
        """Replace a key of root's roles by a new one, in the next root."""
        roles = {"online": ("snapshot",), "timestamp": ("timestamp",)}[name]
        old, new = self.keys[name].public_key, CryptoSigner.generate_ed25519()
        for role in roles:
            self.root.revoke_key(old.keyid, role)
            self.root.add_key(new.public_key, role)
        self.keys[name] = new
        self.root.version += 1
        self.write_root()

    def write_root(self) -> None:
        self._signed("root", self.root, f"{self.root.version}.root.json")

    def write_targets(self, role: str, change: Change | None = None) -> None:
        body = self.targets[role]
        self._signed(role, body, f"{body.version}.{role}.json", change)
        self.snapshot.meta[f"{role}.json"] = MetaFile(body.version)

    def write_snapshot(self, change: Change | None = None) -> None:
        """Write the snapshot, and make the (unwritten) timestamp point at it."""
        version = self.snapshot.version
        data = self._signed("online", self.snapshot, f"{version}.snapshot.json", change)
        digest = hashlib.sha256(data).hexdigest()
        self.timestamp.snapshot_meta = MetaFile(version, len(data), {"sha256": digest})

    def write_timestamp(
        self, *, issued: datetime | None = None, change: Change | None = None
    ) -> None:
        self.timestamp.unrecognized_fields["issued"] = utc_text(issued or self.now)
        self._signed("timestamp", self.timestamp, "timestamp.json", change)

    def read(self, name: str) -> bytes:
        return (self.directory / "metadata" / name).read_bytes()

    def write(self, name: str, data: bytes) -> None:
        self._write(f"metadata/{name}", data)

    def root_bytes(self) -> bytes:
        return self.read("1.root.json")

    def _signed(self, role: str, body: Any, name: str, change: Change | None = None) -> bytes:
        metadata = Metadata(body)
        metadata.sign(self.key_of(role))
        data = metadata.to_bytes(JSONSerializer(compact=True))
        if change is not None:
            data = resigned(data, self.key_of(role), change)
        self._write(f"metadata/{name}", data)
        return data

    def _write(self, path: str, data: bytes) -> None:
        file = self.directory / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)

    def _targets(self) -> Targets:
        return Targets(expires=self.now + timedelta(days=90))

    def _delegate(self) -> None:
        releases, online = self.keys["releases"].public_key, self.keys["online"].public_key
        self.targets["targets"].delegations = Delegations(
            {releases.keyid: releases, online.keyid: online},
            {
                "releases": DelegatedRole(
                    "releases", [releases.keyid], 1, True, paths=["releases/*/*"]
                ),
                "assignments": DelegatedRole(
                    "assignments",
                    [online.keyid],
                    1,
                    True,
                    paths=["fleets/*", "devices/*", "status/*", "project.json"],
                ),
            },
        )
        self.targets["releases"].delegations = Delegations({releases.keyid: releases}, {})
        self.targets["assignments"].delegations = Delegations(
            {online.keyid: online}, succinct_roles=self.bins
        )


def resigned(data: bytes, key: CryptoSigner, change: Change) -> bytes:
    """Return metadata with its `signed` part changed and signed again, whatever it says then."""
    document = json.loads(data)
    change(document["signed"])
    canonical = encode_canonical(document["signed"])
    assert canonical is not None
    signature = key.sign(canonical.encode())
    document["signatures"] = [{"keyid": signature.keyid, "sig": signature.signature}]
    return json.dumps(document, separators=(",", ":")).encode()
