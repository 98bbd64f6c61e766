"""The module `script`, called as the agent calls it: every file of the payload is a script."""

from pathlib import Path

from tests.support.shipped_modules import ShippedModule


def script(text: str) -> bytes:
    return f"#!/bin/sh\n{text}\n".encode()


def module(root: Path, **scripts: bytes) -> ShippedModule:
    """`$LOG` is a file in the scripts' environment; `lines` are what they wrote there."""
    return ShippedModule(root, "script", scripts, environment={"LOG": str(root / "log")})


def lines(root: Path) -> list[str]:
    log = root / "log"
    return log.read_text().splitlines() if log.exists() else []


def test_scripts_run_in_the_order_of_their_names(tmp_path: Path) -> None:
    update = module(tmp_path, b=script('echo b >> "$LOG"'), a=script('echo a >> "$LOG"'))
    update.succeed("ArtifactInstall", "ArtifactCommit", "Cleanup")
    assert lines(tmp_path) == ["a", "b"]


def test_a_script_runs_in_the_tree_without_arguments(tmp_path: Path) -> None:
    """As with Mender's module."""
    update = module(tmp_path, a=script('echo "$# $PWD" >> "$LOG"'))
    update.succeed("ArtifactInstall")
    assert lines(tmp_path) == [f"0 {update.path}"]


def test_a_file_without_an_interpreter_line_is_a_shell_script(tmp_path: Path) -> None:
    module(tmp_path, a=b'echo a >> "$LOG"\n').succeed("ArtifactInstall")
    assert lines(tmp_path) == ["a"]


def test_the_first_that_fails_is_named_and_the_last(tmp_path: Path) -> None:
    update = module(tmp_path, a=script("exit 3"), b=script('echo b >> "$LOG"'))
    assert "a exited with status 3" in update.refusal("ArtifactInstall")
    assert lines(tmp_path) == []


def test_a_script_that_is_killed_has_failed(tmp_path: Path) -> None:
    update = module(tmp_path, a=script("kill -9 $$"))
    assert "a was killed by signal 9" in update.refusal("ArtifactInstall")


def test_a_script_whose_interpreter_is_missing_has_failed(tmp_path: Path) -> None:
    update = module(tmp_path, a=b"#!/no/such/program\n")
    assert "a cannot start: No such file" in update.refusal("ArtifactInstall")


def test_a_repeated_call_goes_on_where_the_first_ended(tmp_path: Path) -> None:
    update = module(
        tmp_path, a=script('echo a >> "$LOG"'), b=script('echo b >> "$LOG"; [ -e again ]')
    )
    update.refusal("ArtifactInstall")
    (update.path / "again").touch()
    update.succeed("ArtifactInstall", "ArtifactInstall")
    assert lines(tmp_path) == ["a", "b", "b"]


def test_a_payload_without_files_is_refused(tmp_path: Path) -> None:
    assert "the payload has no script" in module(tmp_path).refusal("ArtifactInstall")


def test_it_cannot_roll_back_and_says_so(tmp_path: Path) -> None:
    assert module(tmp_path, a=script("true")).answer("SupportsRollback") == "No\n"
