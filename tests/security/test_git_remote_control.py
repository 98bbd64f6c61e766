"""A repository is read, never obeyed: no hooks, no helpers, no configuration, no checkout."""

from pathlib import Path

import pytest

from tests.support.git_upstream import Upstream, source_of


@pytest.fixture
def upstream(tmp_path: Path) -> Upstream:
    upstream = Upstream(tmp_path / "upstream")
    upstream.push({"a.yaml": b"1"})
    return upstream


def trap(directory: Path) -> tuple[Path, Path]:
    """Return a program that leaves a mark, and the mark."""
    program, mark = directory / "trap", directory / "sprung"
    program.write_text(f"#!/bin/sh\ntouch {mark}\ncat\n")
    program.chmod(0o755)
    return program, mark


def test_hooks_in_the_mirror_do_not_run(upstream: Upstream, tmp_path: Path) -> None:
    program, mark = trap(tmp_path)
    source = source_of(upstream.bare, tmp_path / "state")
    source.fetch()
    hooks = tmp_path / "state" / "git" / "sha1.git" / "hooks"
    hooks.mkdir(exist_ok=True)
    for name in ("reference-transaction", "post-fetch", "pre-auto-gc", "post-checkout"):
        (hooks / name).symlink_to(program)
    upstream.push({"a.yaml": b"2"})
    source.accept(source.fetch())
    assert not mark.exists()


def test_filters_and_attributes_of_the_repository_do_not_run(
    upstream: Upstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program, mark = trap(tmp_path)
    commit = upstream.push(
        {
            ".gitattributes": b"* filter=trap diff=trap\n",
            ".gitmodules": b'[submodule "x"]\n\tpath = x\n\turl = ../x\n\tupdate = none\n',
            "a.yaml": b"raw",
        }
    )
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    (home / ".gitconfig").write_text(
        f'[filter "trap"]\n\tsmudge = {program}\n[core]\n\tfsmonitor = {program}\n'
    )
    source = source_of(upstream.bare, tmp_path / "state")
    assert source.fetch() == commit
    blobs = {file.path: file.blob for file in source.files(commit)}
    assert source.read([blobs["a.yaml"]]) == {blobs["a.yaml"]: b"raw"}
    assert not mark.exists()


@pytest.mark.parametrize("name", ["HOME", "XDG_CONFIG_HOME"])
def test_the_users_git_configuration_has_no_say(
    upstream: Upstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    home = tmp_path / "home"
    (home / "git").mkdir(parents=True)
    broken = f'[url "file:///nowhere/"]\n\tinsteadOf = {upstream.root}/\n'
    for file in (home / ".gitconfig", home / "git" / "config"):
        file.write_text(broken)
    monkeypatch.setenv(name, str(home))
    assert source_of(upstream.bare, tmp_path / "state").fetch() == upstream.head()


def test_a_hooks_environment_does_not_send_us_to_another_repository(
    upstream: Upstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Upstream(tmp_path / "other")
    monkeypatch.setenv("GIT_DIR", str(other.bare))
    monkeypatch.setenv("GIT_OBJECT_DIRECTORY", str(other.bare / "objects"))
    monkeypatch.setenv("GIT_NAMESPACE", "elsewhere")
    monkeypatch.setenv("GIT_CONFIG_PARAMETERS", "'core.hooksPath=/tmp'")
    source = source_of(upstream.bare, tmp_path / "state")
    commit = source.fetch()
    assert [file.path for file in source.files(commit)] == ["a.yaml"]
    source.close()
