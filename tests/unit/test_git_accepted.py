"""History moves forward only, and what was accepted survives."""

from pathlib import Path

import pytest

from reconciler.adapters.git_accepted import Accepted, AcceptedFile, succeed
from reconciler.errors import CommitRefused, Misconfigured, Unavailable

OLD, NEW, RESET = "a" * 40, "b" * 40, "c" * 40


def judge(before: Accepted | None, ancestors: set[str], allow_reset: str | None = None) -> Accepted:
    return succeed(
        before,
        NEW,
        descends_from=ancestors.__contains__,
        allow_reset=allow_reset,
        branch="main",
    )


def test_the_first_commit_is_accepted_as_it_is() -> None:
    assert judge(None, set()) == Accepted(NEW)


def test_a_descendant_is_accepted_and_a_used_reset_remembered() -> None:
    assert judge(Accepted(OLD, RESET), {OLD}) == Accepted(NEW, RESET)


def test_rewritten_history_is_refused_with_what_to_do() -> None:
    with pytest.raises(CommitRefused) as refused:
        judge(Accepted(OLD), set())
    assert OLD in str(refused.value)
    assert f'git.allow_reset = "{NEW}"' in str(refused.value)


@pytest.mark.parametrize("allowed", [NEW, RESET])
def test_the_commit_that_allow_reset_names_and_its_descendants_replace_history(
    allowed: str,
) -> None:
    assert judge(Accepted(OLD), {NEW, RESET}, allowed) == Accepted(NEW, allowed)


def test_allow_reset_replaces_history_once() -> None:
    with pytest.raises(CommitRefused, match="was used already"):
        judge(Accepted(OLD, RESET), {NEW, RESET}, RESET)


def test_allow_reset_of_another_commit_changes_nothing() -> None:
    with pytest.raises(CommitRefused):
        judge(Accepted(OLD), set(), RESET)


def test_what_was_written_is_read_by_the_next_process(tmp_path: Path) -> None:
    path = tmp_path / "accepted.json"
    assert AcceptedFile(path).read() is None
    for accepted in (Accepted(OLD), Accepted(NEW, RESET), Accepted(NEW, RESET)):
        AcceptedFile(path).write(accepted)
        assert AcceptedFile(path).read() == accepted


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"commit": "x", "reset": null}', b'{"commit": null}', b"\xff"]
)
def test_a_damaged_record_is_never_taken_for_a_fresh_start(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "accepted.json"
    path.write_bytes(content)
    with pytest.raises(Misconfigured, match="delete the file to trust the branch"):
        AcceptedFile(path).read()


def test_a_record_that_cannot_be_written_is_to_be_tried_again(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Unavailable):
        AcceptedFile(tmp_path / "file" / "accepted.json").write(Accepted(OLD))
