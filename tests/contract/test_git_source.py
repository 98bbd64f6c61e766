"""GitSource over real repositories: what is fetched, refused, remembered and read."""

import socket
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from reconciler.adapters.git_tree import MAX_FILE
from reconciler.errors import CommitRefused, Misconfigured, TreeRefused, Unavailable
from reconciler.ports import FleetSource
from tests.support.git_upstream import Upstream, source_of


@pytest.fixture
def upstream(tmp_path: Path) -> Upstream:
    return Upstream(tmp_path / "upstream")


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


def contents(source: FleetSource, commit: str) -> dict[str, bytes]:
    files = source.files(commit)
    by_blob = source.read(file.blob for file in files)
    return {file.path: by_blob[file.blob] for file in files}


@pytest.mark.parametrize("object_format", ["sha1", "sha256"])
@pytest.mark.parametrize("address", ["{}", "file://{}"])
def test_a_pushed_commit_is_fetched_and_read_without_a_checkout(
    tmp_path: Path, state: Path, object_format: str, address: str
) -> None:
    upstream = Upstream(tmp_path / "my upstream", object_format)
    files = {"fleets/kiosk.yaml": b"a: 1\n", "README.md": b"\r\n\0", "twice.yaml": b"a: 1\n"}
    commit = upstream.push(files)
    source: FleetSource = source_of(address.format(upstream.bare), state)
    assert source.fetch() == commit
    assert contents(source, commit) == files
    assert not list(state.rglob("kiosk.yaml"))


def test_fetching_again_gives_the_newest_commit(upstream: Upstream, state: Path) -> None:
    first = upstream.push({"a.yaml": b"1"})
    source = source_of(upstream.bare, state)
    assert [source.fetch(), source.fetch()] == [first, first]
    second = upstream.push({"a.yaml": b"2"})
    assert source.fetch() == second
    assert contents(source, second) == {"a.yaml": b"2"}
    assert contents(source, first) == {"a.yaml": b"1"}


def test_only_the_configured_branch_is_fetched(upstream: Upstream, state: Path) -> None:
    main = upstream.push({"a.yaml": b"1"})
    upstream.git("tag", "v1")
    upstream.git("push", "--quiet", "--tags", str(upstream.bare))
    other = upstream.commit({"a.yaml": b"2"})
    upstream.push_head("other")
    source = source_of(upstream.bare, state)
    assert source.fetch() == main
    with pytest.raises(Unavailable):
        source.files(other)
    assert source_of(upstream.bare, state / "2", branch="other").fetch() == other


def test_the_commits_date_is_the_committers(upstream: Upstream, state: Path) -> None:
    commit = upstream.push({"a.yaml": b"1"})
    source = source_of(upstream.bare, state)
    source.fetch()
    stamp = int(upstream.git("log", "-1", "--format=%ct"))
    assert source.committed_at(commit) == datetime.fromtimestamp(stamp, UTC)


def test_reading_nothing_asks_nobody(upstream: Upstream, state: Path) -> None:
    assert source_of(upstream.bare, state).read([]) == {}


def test_history_that_was_rewritten_is_refused_until_it_is_allowed_once(
    upstream: Upstream, state: Path
) -> None:
    base = upstream.push({"a.yaml": b"1"})
    lost = upstream.push({"a.yaml": b"2"})
    source = source_of(upstream.bare, state)
    source.accept(source.fetch())
    upstream.git("reset", "--quiet", "--hard", base)
    rewritten = upstream.push({"a.yaml": b"3"})
    with pytest.raises(CommitRefused, match=f'git.allow_reset = "{rewritten}"'):
        source.fetch()
    with pytest.raises(CommitRefused):
        source.accept(rewritten)
    assert contents(source, lost) == {"a.yaml": b"2"}

    allowing = source_of(upstream.bare, state, allow_reset=rewritten)
    allowing.accept(allowing.fetch())
    following = upstream.push({"a.yaml": b"4"})
    allowing.accept(allowing.fetch())
    assert allowing.accepted() == following
    upstream.git("reset", "--quiet", "--hard", rewritten)
    upstream.push_head()
    with pytest.raises(CommitRefused, match="was used already"):
        allowing.fetch()


def test_a_branch_that_was_set_back_to_an_older_commit_is_refused(
    upstream: Upstream, state: Path
) -> None:
    older = upstream.push({"a.yaml": b"1"})
    upstream.push({"a.yaml": b"2"})
    source = source_of(upstream.bare, state)
    source.accept(source.fetch())
    upstream.git("reset", "--quiet", "--hard", older)
    upstream.push_head()
    with pytest.raises(CommitRefused, match="set back"):
        source.fetch()


def test_what_is_served_is_kept_when_its_history_was_rewritten(
    upstream: Upstream, state: Path
) -> None:
    base = upstream.push({"a.yaml": b"1"})
    served = upstream.push({"a.yaml": b"2"})
    source = source_of(upstream.bare, state)
    source.accept(source.fetch())
    upstream.git("reset", "--quiet", "--hard", base)
    upstream.push({"a.yaml": b"3"})
    with pytest.raises(CommitRefused):
        source.fetch()
    upstream.git("--git-dir", str(state / "git" / "sha1.git"), "gc", "--quiet", "--prune=now")
    assert contents(source, served) == {"a.yaml": b"2"}


def test_a_repository_of_another_object_format_is_other_history(
    upstream: Upstream, state: Path, tmp_path: Path
) -> None:
    upstream.push({"a.yaml": b"1"})
    source = source_of(upstream.bare, state)
    source.accept(source.fetch())
    converted = Upstream(tmp_path / "converted", "sha256")
    commit = converted.push({"a.yaml": b"1"})
    with pytest.raises(CommitRefused, match="does not contain the last accepted commit"):
        source_of(converted.bare, state).fetch()
    allowing = source_of(converted.bare, state, allow_reset=commit)
    allowing.accept(allowing.fetch())
    assert allowing.accepted() == commit


def test_a_commit_that_was_not_accepted_may_be_replaced(upstream: Upstream, state: Path) -> None:
    base = upstream.push({"a.yaml": b"1"})
    source = source_of(upstream.bare, state)
    source.accept(source.fetch())
    upstream.push({"a.yaml": b"broken"})
    source.fetch()
    upstream.git("reset", "--quiet", "--hard", base)
    mended = upstream.push({"a.yaml": b"2"})
    assert source.fetch() == mended


def test_what_was_accepted_survives_a_restart_and_a_lost_mirror(
    upstream: Upstream, state: Path, tmp_path: Path
) -> None:
    commit = upstream.push({"a.yaml": b"1"})
    source = source_of(upstream.bare, state)
    assert source.accepted() is None
    source.accept(source.fetch())
    source.accept(commit)
    source.close()
    restarted = source_of(upstream.bare, state)
    assert restarted.accepted() == commit
    assert contents(restarted, commit) == {"a.yaml": b"1"}

    (state / "git" / "sha1.git").rename(tmp_path / "lost")
    stranger = Upstream(tmp_path / "stranger")
    stranger.push({"b.yaml": b"2"})
    with pytest.raises(CommitRefused, match=commit):
        source_of(stranger.bare, state).fetch()


def test_links_and_submodules_are_refused_by_name(upstream: Upstream, state: Path) -> None:
    upstream.push({"a.yaml": b"1"})
    (upstream.work / "link.yaml").symlink_to("/etc/passwd")
    upstream.git("add", "link.yaml")
    entry = f"160000,{upstream.head()},vendor/sub"
    upstream.git("update-index", "--add", "--cacheinfo", entry)
    upstream.git("commit", "--quiet", "--message", "bad")
    upstream.push_head()
    source = source_of(upstream.bare, state)
    with pytest.raises(TreeRefused) as refused:
        source.files(source.fetch())
    assert [problem.file for problem in refused.value.problems] == ["link.yaml", "vendor/sub"]


def test_a_large_yaml_file_is_refused_by_name_and_a_large_other_file_unread(
    upstream: Upstream, state: Path
) -> None:
    source = source_of(upstream.bare, state)
    upstream.push({"photo.jpg": bytes(MAX_FILE + 1)})
    (photo,) = source.files(source.fetch())
    with pytest.raises(TreeRefused, match=photo.blob):
        source.read([photo.blob])
    upstream.push({"big.yaml": bytes(MAX_FILE + 1)})
    with pytest.raises(TreeRefused, match=r"big\.yaml"):
        source.files(source.fetch())


def test_a_name_that_is_not_utf8_is_refused(upstream: Upstream, state: Path) -> None:
    blob = upstream.git("hash-object", "-w", "--stdin", stdin=b"1").strip()
    tree = upstream.git("mktree", stdin=b"100644 blob %b\tcaf\xe9.yaml\n" % blob.encode()).strip()
    commit = upstream.git("commit-tree", "-m", "bad", tree).strip()
    upstream.git("push", "--quiet", str(upstream.bare), f"{commit}:refs/heads/main")
    source = source_of(upstream.bare, state)
    with pytest.raises(TreeRefused, match="not UTF-8"):
        source.files(source.fetch())


def test_a_malformed_object_is_refused_on_arrival(upstream: Upstream, state: Path) -> None:
    blob = upstream.git("hash-object", "-w", "--stdin", stdin=b"1").strip()
    raw = b"100644 ..\0" + bytes.fromhex(blob)
    flags = ("-t", "tree", "-w", "--literally", "--stdin")
    tree = upstream.git("hash-object", *flags, stdin=raw).strip()
    commit = upstream.git("commit-tree", "-m", "bad", tree).strip()
    upstream.git("push", "--quiet", str(upstream.bare), f"{commit}:refs/heads/main")
    with pytest.raises(CommitRefused, match="hasDotdot"):
        source_of(upstream.bare, state).fetch()


def test_an_impossible_date_is_refused(upstream: Upstream, state: Path) -> None:
    tree = upstream.git("write-tree").strip()
    person = b"Ada <ada@example.org> 99999999999999 +0000"
    raw = b"tree %b\nauthor %b\ncommitter %b\n\nlate\n" % (tree.encode(), person, person)
    commit = upstream.git("hash-object", "-t", "commit", "-w", "--stdin", stdin=raw).strip()
    upstream.git("push", "--quiet", str(upstream.bare), f"{commit}:refs/heads/main")
    source = source_of(upstream.bare, state)
    with pytest.raises(CommitRefused, match="impossible date"):
        source.committed_at(source.fetch())


def test_an_empty_repository_asks_for_a_first_commit(upstream: Upstream, state: Path) -> None:
    with pytest.raises(Unavailable, match="push a first commit to main"):
        source_of(upstream.bare, state).fetch()


def test_a_missing_branch_is_named_beside_those_that_exist(upstream: Upstream, state: Path) -> None:
    upstream.push({"a.yaml": b"1"})
    with pytest.raises(Unavailable, match=r"no branch trunk; .*\(there are: main\)"):
        source_of(upstream.bare, state, branch="trunk").fetch()


def test_a_branch_whose_name_ends_like_ours_is_not_ours(upstream: Upstream, state: Path) -> None:
    upstream.commit({"a.yaml": b"1"})
    upstream.push_head("x/refs/heads/main")
    with pytest.raises(Unavailable, match="no branch main"):
        source_of(upstream.bare, state).fetch()


def test_a_repository_that_is_gone_is_unavailable_and_comes_back(
    upstream: Upstream, state: Path
) -> None:
    commit = upstream.push({"a.yaml": b"1"})
    source = source_of(upstream.bare, state)
    source.accept(source.fetch())
    away = upstream.bare.with_suffix(".away")
    upstream.bare.rename(away)
    with pytest.raises(Unavailable, match=str(upstream.bare)):
        source.fetch()
    assert contents(source, commit) == {"a.yaml": b"1"}
    away.rename(upstream.bare)
    assert source.fetch() == commit


@pytest.mark.parametrize("scheme", ["https", "ssh"])
def test_a_host_that_never_answers_is_unavailable_within_the_timeout(
    state: Path, scheme: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"{scheme}://127.0.0.1:{silent.getsockname()[1]}/fleet.git"
        source = source_of(url, state, timeout=1)
        before = time.monotonic()
        with pytest.raises(Unavailable):
            source.fetch()
        assert time.monotonic() - before < 4


def test_an_unreachable_host_is_unavailable(state: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    with pytest.raises(Unavailable, match=f"https://127.0.0.1:{port}/fleet.git"):
        source_of(f"https://127.0.0.1:{port}/fleet.git", state).fetch()


@pytest.mark.parametrize("branch", ["a..b", "a b", "x.lock", "a~1", "*"])
def test_a_branch_name_that_git_forbids_is_a_mistake_in_the_configuration(
    upstream: Upstream, state: Path, branch: str
) -> None:
    with pytest.raises(Misconfigured, match=r"git\.branch"):
        source_of(upstream.bare, state, branch=branch)


@pytest.mark.parametrize("commit", ["main", "--all", "HEAD", "", "a" * 39])
def test_only_full_commit_ids_are_asked_for(upstream: Upstream, state: Path, commit: str) -> None:
    upstream.push({"a.yaml": b"1"})
    source = source_of(upstream.bare, state)
    source.fetch()
    for ask in (source.files, source.committed_at, source.accept):
        with pytest.raises(CommitRefused, match="not a full commit id"):
            ask(commit)


def test_a_state_directory_inside_another_repository_changes_nothing(
    upstream: Upstream, tmp_path: Path
) -> None:
    commit = upstream.push({"a.yaml": b"1"})
    around = Upstream(tmp_path / "around")
    around.git("config", "url.file:///nowhere/.insteadOf", f"{upstream.root}/")
    assert source_of(upstream.bare, around.work / "state").fetch() == commit
