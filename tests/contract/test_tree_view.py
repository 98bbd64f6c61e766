"""What a gateway reads from the tree that another process writes."""

from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.adapters.tree_view import TreeView
from reconciler.domain.documents import Attempted, project_status
from reconciler.errors import Misconfigured, Unavailable
from schemas.wire.status import Condition
from tests.support.documents import COMMIT, NOW
from tests.support.publications import status_of
from tests.support.signed_tree import SignedTree

WELL = Condition("SourceReady", True, "Fetched", "", NOW)


def published(path: Path) -> SignedTree:
    tree = SignedTree(path)
    tree.set("status/kiosks.json", status_of("kiosks", 1))
    tree.set("project.json", project_status("p", COMMIT, Attempted(COMMIT, (), NOW), (WELL,)))
    tree.publish()
    return tree


def test_it_shows_what_is_published_now(tmp_path: Path) -> None:
    tree, view = published(tmp_path), TreeView(tmp_path)
    assert view.statuses() == {"kiosks": status_of("kiosks", 1)}
    tree.set("status/kiosks.json", status_of("kiosks", 2))
    tree.publish()
    assert view.statuses() == {"kiosks": status_of("kiosks", 2)}


def test_the_reconciler_s_conditions_come_from_the_tree(tmp_path: Path) -> None:
    published(tmp_path)
    assert TreeView(tmp_path).conditions() == (WELL,)


def test_conditions_of_a_reconciler_in_this_process_are_newer(tmp_path: Path) -> None:
    published(tmp_path)
    ill = replace(WELL, status=False)
    assert TreeView(tmp_path, lambda: [ill]).conditions() == [ill]


def test_a_tree_without_a_project_has_no_conditions(tmp_path: Path) -> None:
    SignedTree(tmp_path)
    assert TreeView(tmp_path).conditions() == ()
    assert TreeView(tmp_path).statuses() == {}


def test_what_nobody_signed_is_not_shown(tmp_path: Path) -> None:
    tree = published(tmp_path)
    tree.edit("snapshot", lambda _: None, signers=())
    with pytest.raises(Unavailable):
        TreeView(tmp_path).statuses()


def test_a_damaged_document_is_named(tmp_path: Path) -> None:
    tree = published(tmp_path)
    file = tree.document("status/kiosks.json")
    tree.flip(file)
    with pytest.raises(Unavailable, match=file.name):
        TreeView(tmp_path).statuses()


def test_a_document_that_is_gone_is_no_endless_loop(tmp_path: Path) -> None:
    tree = published(tmp_path)
    tree.document("status/kiosks.json").unlink()
    with pytest.raises(Unavailable, match="status"):
        TreeView(tmp_path).statuses()


def test_no_tree_at_all_is_a_mistake_in_the_configuration(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="no published tree"):
        TreeView(tmp_path).statuses()
