"""What the import linter cannot check."""

import ast
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

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


def source(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def offenders(paths: Iterable[Path], breaks: Callable[[Path], bool]) -> list[str]:
    """Return the names of all files that break a rule: one failure shows the whole work."""
    return [name(path) for path in paths if breaks(path)]


def test_there_are_files_to_look_at() -> None:
    assert len(PROGRAM) > 100
    assert len(TESTS) > 100


def test_a_file_is_short_enough_to_read() -> None:
    assert not offenders(PROGRAM + TESTS, lambda path: len(source(path).splitlines()) > MAX_LINES)


def test_a_module_says_what_it_is_for() -> None:
    def is_silent(path: Path) -> bool:
        text = source(path)
        return bool(text.strip()) and not ast.get_docstring(ast.parse(text))

    assert not offenders(PROGRAM, is_silent)


def imported_in(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(source(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_nothing_is_mocked() -> None:
    mocks = ("unittest.mock", "mock")

    def is_mocking(path: Path) -> bool:
        return any(
            f"{module}.".startswith(f"{mock}.") for module in imported_in(path) for mock in mocks
        )

    assert not offenders(PROGRAM + TESTS, is_mocking)


def test_names_say_something() -> None:
    vague = ("util", "helper", "manager", "misc", "common")
    assert not offenders(PROGRAM, lambda path: any(word in name(path) for word in vague))


def test_only_the_two_app_modules_build_adapters() -> None:
    """`reconciler.adapters` is imported by app.py, by the command line and by itself."""
    allowed = ("reconciler/adapters/", "reconciler/app.py", "reconciler/cli/", "reconciler/demo/")
    others = [
        path
        for path in PROGRAM
        if name(path).startswith("reconciler/") and not name(path).startswith(allowed)
    ]
    assert not offenders(others, lambda path: "reconciler.adapters" in source(path))


def test_the_agent_cannot_sign_metadata() -> None:
    signing = ("tuf.repository", "securesystemslib.signer")
    agent = [path for path in PROGRAM if name(path).startswith("device_agent/")]
    assert not offenders(agent, lambda path: any(module in source(path) for module in signing))


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
