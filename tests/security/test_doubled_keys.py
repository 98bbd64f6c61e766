"""The reconciler neither signs nor publishes a delegation in which one key stands for two holders.

The numbers are those of tests/security/cases.toml. What devices do is in test_gap_root_rotation.py.
"""

from pathlib import Path
from typing import Any

import pytest
from securesystemslib.signer import Signer, SSlibKey
from tuf.api.metadata import Metadata, Targets

from reconciler.adapters.tuf_roles import signed_bytes
from reconciler.errors import NotSigned
from tests.support.documents import DESCRIPTOR
from tests.support.signed_tree import SignedTree

TWIN = "b" * 64


@pytest.fixture
def tree(tmp_path: Path) -> SignedTree:
    tree = SignedTree(tmp_path / "tree")
    tree.release(DESCRIPTOR)
    tree.publish()
    return tree


def twin_of(signer: Signer) -> SSlibKey:
    key = signer.public_key
    return SSlibKey(TWIN, key.keytype, key.scheme, dict(key.keyval))


def doubled(data: bytes, signer: Signer, *, version: int) -> bytes:
    """Let two signatures of one key meet a threshold of two for each release."""
    releases = Metadata[Targets].from_bytes(data).signed
    assert releases.delegations is not None
    assert releases.delegations.roles is not None
    releases.delegations.keys[TWIN] = twin_of(signer)
    for role in releases.delegations.roles.values():
        role.keyids.append(TWIN)
        role.threshold = 2
    releases.version = version
    return signed_bytes(releases, [signer])


def test_5_release_metadata_with_a_key_under_two_ids_is_not_published(tree: SignedTree) -> None:
    tree.releases["releases.json"] = doubled(
        tree.releases["releases.json"], tree.keys.release[0], version=9
    )
    before = tree.copy_of()
    with pytest.raises(NotSigned, match=r"releases\.json: E_SIGNATURE.*a key of their own"):
        tree.publish()
    assert tree.copy_of() == before


def test_5_nothing_is_released_beside_a_key_under_two_ids(tree: SignedTree) -> None:
    tree.releases["releases.json"] = doubled(
        tree.releases["releases.json"], tree.keys.release[0], version=9
    )
    with pytest.raises(NotSigned, match=r"releases\.json: E_SIGNATURE.*a key of their own"):
        tree.release(DESCRIPTOR)


@pytest.mark.parametrize("role", ["root", "targets"])
def test_5_a_tree_whose_offline_roles_name_a_key_twice_is_not_written(
    tree: SignedTree, role: str
) -> None:
    def change(signed: Any) -> None:
        keys = signed.keys if role == "root" else signed.delegations.keys
        first = tree.keys.root[0] if role == "root" else tree.keys.release[0]
        keys[TWIN] = twin_of(first)

    tree.edit(role, change)
    again = SignedTree.reopen(tree)
    again.set("project.json", b"{}")
    with pytest.raises(NotSigned, match=rf"1\.{role}\.json: E_SIGNATURE"):
        again.publish()
