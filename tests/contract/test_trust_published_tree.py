"""What the reconciler publishes is what the agent trusts: both real, over a real web server."""

import hashlib
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest

from device_agent.errors import UpdateRejected
from device_agent.fetch.download import ARTIFACT_LIMITS, HttpArtifactSource
from device_agent.fetch.http import HttpClient, Network
from device_agent.ports import ArtifactSource, Trust
from device_agent.trust.http_tree import TREE_LIMITS, HttpTree
from device_agent.trust.tuf_trust import TrustSettings, TufTrust
from schemas.refusal import Code
from schemas.wire.descriptor import Artifact, Encoding
from schemas.wire.manifest import Stable
from schemas.wire.shard import Shard
from schemas.wire.types import ComponentRef, ComponentSet
from tests.support.documents import DESCRIPTOR, ENTRY, KEY, MANIFEST
from tests.support.fault_server import FaultServer, files
from tests.support.loopback_ca import loopback_ca
from tests.support.signed_tree import NOW, SignedTree
from tests.support.trust_device import FLEET_PATH, SHARD_PATH, SetClock

IMAGE = random.Random(5).randbytes(300_000)
OS = replace(
    DESCRIPTOR,
    artifacts=(
        Artifact("", hashlib.sha256(IMAGE).hexdigest(), len(IMAGE), len(IMAGE), Encoding.RAW),
    ),
)
REF = ComponentRef(OS.release, OS.digest)
SET = ComponentSet({"os": REF})
FLEET = replace(MANIFEST, next=None, stable=Stable(SET.id, 1, SET.components, {}, {}))
DEVICE = replace(ENTRY, pin={})


@dataclass
class Published:
    tree: SignedTree
    server: FaultServer
    network: Network
    state: Path

    def trust(self) -> Trust:
        source = HttpTree(self.server.url, HttpClient(self.network, TREE_LIMITS))
        return TufTrust(TrustSettings(self.state, self.tree.root, KEY), source, self.clock())

    def clock(self) -> SetClock:
        return SetClock(fixed=self.tree.now + timedelta(minutes=1))


@pytest.fixture
def published(tmp_path: Path) -> Iterator[Published]:
    tree = SignedTree(tmp_path / "tree", now=NOW)
    tree.release(OS, blob=IMAGE)
    tree.set(FLEET_PATH, FLEET)
    tree.set(SHARD_PATH, Shard({KEY: DEVICE}))
    tree.publish()
    ca = loopback_ca(tmp_path)
    with FaultServer(files(tmp_path / "tree"), ca.server) as server:
        yield Published(tree, server, Network(ca_file=ca.ca_file), tmp_path / "state")


def test_the_agent_trusts_what_the_reconciler_publishes_down_to_the_last_byte(
    published: Published,
) -> None:
    trust = published.trust()
    trusted = trust.refresh()
    assert (trusted.entry, trusted.manifest) == (DEVICE, FLEET)
    descriptor = trust.descriptor(REF)
    assert descriptor == OS
    client = HttpClient(published.network, ARTIFACT_LIMITS)
    source: ArtifactSource = HttpArtifactSource(published.server.url, client)
    assert b"".join(source.stream(descriptor.artifacts[0])) == IMAGE


def test_a_rollout_step_costs_a_device_five_small_files(published: Published) -> None:
    published.trust().refresh()
    published.tree.set(FLEET_PATH, replace(FLEET, generation=8))
    published.tree.publish(NOW + timedelta(hours=1))
    published.server.asked.clear()
    manifest = published.trust().refresh().manifest
    assert manifest is not None
    assert manifest.generation == 8
    kinds = [path.rpartition("/")[2].split(".", 1)[1] for path in published.server.paths()]
    assert len(kinds) == 5
    assert kinds[:3] == ["root.json", "json", "snapshot.json"]


def test_an_unchanged_poll_is_two_requests_over_one_connection_and_no_body(
    published: Published,
) -> None:
    published.trust().refresh()
    published.server.asked.clear()
    published.server.sent = published.server.connections = 0
    start = time.process_time()
    assert published.trust().refresh().manifest == FLEET
    print(f"unchanged poll: {time.process_time() - start:.3f} s of CPU, server included")
    assert len(published.server.asked) == 2
    assert published.server.connections == 1
    assert published.server.sent == 0


def test_an_old_tree_played_back_is_refused(published: Published) -> None:
    old = published.tree.copy_of()
    published.tree.set(FLEET_PATH, replace(FLEET, generation=8))
    published.tree.publish(NOW + timedelta(hours=1))
    published.trust().refresh()
    published.tree.play_back(old)
    with pytest.raises(UpdateRejected) as caught:
        published.trust().refresh()
    assert caught.value.code is Code.ROLLBACK
