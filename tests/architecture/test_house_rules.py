"""What the import linter cannot check."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = sorted(
    path
    for package in ("schemas", "reconciler", "device_agent")
    for path in (ROOT / package).rglob("*.py")
)
TESTS = sorted((ROOT / "tests").rglob("*.py"))
MAX_LINES = 400


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", PROGRAM + TESTS, ids=name)
def test_a_file_is_short_enough_to_read(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_LINES


@pytest.mark.parametrize("path", PROGRAM, ids=name)
def test_a_module_says_what_it_is_for(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    assert not source.strip() or ast.get_docstring(ast.parse(source))


@pytest.mark.parametrize("path", PROGRAM + TESTS, ids=name)
def test_nothing_is_mocked(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            assert not any(alias.name.startswith("unittest.mock") for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            assert not (node.module or "").startswith(("unittest.mock", "mock"))


@pytest.mark.parametrize("path", PROGRAM, ids=name)
def test_names_say_something(path: Path) -> None:
    vague = ("util", "helper", "manager", "misc", "common")
    assert not any(word in part for part in path.relative_to(ROOT).parts for word in vague)


def test_only_the_two_app_modules_build_adapters() -> None:
    """`reconciler.adapters` is imported by app.py, by the command line and by itself."""
    allowed = ("reconciler/adapters/", "reconciler/app.py", "reconciler/cli/", "reconciler/demo/")
    for path in PROGRAM:
        if name(path).startswith("reconciler/") and not name(path).startswith(allowed):
            assert "reconciler.adapters" not in path.read_text(encoding="utf-8"), name(path)


@pytest.mark.parametrize("path", [p for p in PROGRAM if "device_agent" in p.parts], ids=name)
def test_the_agent_cannot_sign_metadata(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    assert "tuf.repository" not in source
    assert "securesystemslib.signer" not in source


def imported_by(statement: str) -> set[str]:
    code = f"import sys; {statement}; print('\\n'.join(sys.modules))"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    return set(result.stdout.split())


def test_the_agents_loop_imports_the_standard_library_only() -> None:
    modules = imported_by("import device_agent.daemon")
    heavy = {
        "tuf",
        "urllib3",
        "cryptography",
        "requests",
        "pydantic",
        "yaml",
        "asyncio",
        "securesystemslib",
    }
    assert not modules & heavy


def test_the_wire_language_imports_no_pydantic() -> None:
    assert not imported_by(
        "import schemas.resolve, schemas.wire.status, schemas.wire.report, schemas.wire.descriptor"
    ) & {"pydantic", "yaml", "requests"}


def test_the_command_line_starts_without_its_heavy_parts() -> None:
    modules = imported_by("import reconciler.cli.main")
    assert not modules & {"git", "fastapi", "sqlalchemy", "alembic", "tuf", "uvicorn"}
