"""The database is migrated when it is opened, and the migrations make the tables that are used."""

import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, text

from reconciler.adapters.sql_engine import HEAD, MIGRATIONS, Database
from reconciler.adapters.sql_tables import METADATA
from reconciler.errors import Misconfigured, Unavailable


def url(folder: Path) -> str:
    return f"sqlite:///{folder / 'fleetcd.db'}"


def test_an_empty_database_is_brought_to_the_newest_migration(tmp_path: Path) -> None:
    database = Database(url(tmp_path))
    assert database.revision() == HEAD
    database.upgrade()
    assert database.revision() == HEAD


def test_the_newest_migration_is_the_one_in_the_folder() -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    assert ScriptDirectory.from_config(config).get_current_head() == HEAD


def test_the_migrations_make_the_tables(tmp_path: Path) -> None:
    Database(url(tmp_path)).close()
    with create_engine(url(tmp_path)).connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []


def test_the_database_is_durable_and_shared(tmp_path: Path) -> None:
    with Database(url(tmp_path)).reading() as connection:
        pragmas = [
            connection.scalar(text(f"PRAGMA {name}"))
            for name in ("journal_mode", "synchronous", "foreign_keys")
        ]
    assert pragmas == ["wal", 2, 1]


def test_alembic_is_not_imported_when_the_schema_is_up_to_date(tmp_path: Path) -> None:
    Database(url(tmp_path)).close()
    code = (
        "import sys; from reconciler.adapters.sql_store import SqlStore;"
        f"SqlStore.open({url(tmp_path)!r}).ping(); print('alembic' in sys.modules)"
    )
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert result.stdout.strip() == "False"


@pytest.mark.parametrize(
    "wrong", ["nonsense", "mysql+pymysql://h/d", "sqlite://", "sqlite:///:memory:"]
)
def test_a_database_that_cannot_work_is_named(wrong: str) -> None:
    with pytest.raises(Misconfigured, match=r"state\.database"):
        Database(wrong)


def test_a_database_that_cannot_be_opened_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="database"):
        Database(url(tmp_path / "missing"))
