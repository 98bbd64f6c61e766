"""Opening the database: the only place that knows the engine (docs/adr/gateway-store.md)."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Table, create_engine, event, inspect, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from reconciler.errors import Misconfigured, Unavailable

MIGRATIONS = Path(__file__).parent / "migrations"
HEAD = "0002"  # the newest migration; a test compares it with the folder
BUSY_TIMEOUT = 10_000  # milliseconds that a writer waits for another process
_PRAGMAS = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",
    "PRAGMA foreign_keys=ON",
    f"PRAGMA busy_timeout={BUSY_TIMEOUT}",
)
_UPSERT: dict[str, Callable[[Table], sqlite.Insert | postgresql.Insert]] = {
    "sqlite": sqlite.insert,
    "postgresql": postgresql.insert,
}


class Database:
    """Transactions on one database. One writer at a time in this process; others wait in SQLite.

    An SQLite file that was deleted or replaced is left: the next transaction opens the one that is
    there now, or makes a new one. `opened` counts how often that was done, to tell what is gone.
    """

    def __init__(self, url: str) -> None:
        """Open `url` (an SQLAlchemy URL) and bring its schema up to date.

        Raises Misconfigured for a URL that cannot work, Unavailable for a database that does not.
        """
        self._writing, self._opening = threading.Lock(), threading.Lock()
        self._engine = _engine(url)
        self._file: tuple[int, int] | None = None
        self.opened = 0
        self._open()

    def close(self) -> None:
        self._engine.dispose()

    def revision(self) -> str | None:
        """Return the schema's migration, None for an empty database."""
        with _translated(), self._engine.connect() as connection:
            if not inspect(connection).has_table("alembic_version"):
                return None
            version = connection.scalar(text("SELECT version_num FROM alembic_version"))
        return None if version is None else str(version)

    def _open(self) -> None:
        """Open the database if the file that is open is not the one that is there. Again: no
        effect. Whoever deletes a file that is open would leave us writing where nobody reads."""
        with self._opening:
            if self.opened and self._file == self._there():
                return
            self._engine.dispose()
            with _translated():
                if self.revision() != HEAD:
                    self.upgrade()
            self._file, self.opened = self._there(), self.opened + 1

    def _there(self) -> tuple[int, int] | None:
        """Return device and inode of the SQLite file; None where there is no file."""
        if self._engine.dialect.name != "sqlite":
            return None
        try:
            status = Path(str(self._engine.url.database)).stat()
        except OSError:
            return None  # the next connection says why
        return status.st_dev, status.st_ino

    def upgrade(self) -> None:
        """Run the migrations that are missing, in one transaction. Again: no effect."""
        from alembic import command
        from alembic.config import Config

        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        with self._transaction() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Yield a connection in a write transaction, committed (and on disk) at the end."""
        self._open()
        with self._transaction() as writer:
            yield writer

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        with self._writing, _translated(), self._engine.connect() as connection:
            writer = connection.execution_options(fleetcd_writes=True)
            with writer.begin():
                yield writer

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Yield a connection that sees one state of the database throughout."""
        self._open()
        with _translated(), self._engine.connect() as connection:
            yield connection


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        raise Unavailable(f"database: {error.orig}") from error


def _engine(url: str) -> Engine:
    try:
        parsed = make_url(url)
        engine = create_engine(parsed)
    except (ArgumentError, ImportError) as error:
        raise Misconfigured(f"state.database {url!r}: {error}") from error
    if engine.dialect.name not in _UPSERT:
        raise Misconfigured(f"state.database {url!r}: only sqlite: and postgresql: are supported")
    if engine.dialect.name == "sqlite":
        if parsed.database in (None, "", ":memory:"):
            raise Misconfigured(f"state.database {url!r}: name a file, memory is lost on restart")
        event.listen(engine, "connect", _configure_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def _configure_sqlite(connection: Any, record: Any) -> None:  # noqa: ARG001 - SQLAlchemy's signature
    connection.isolation_level = None  # transactions begin where we say, see _begin_sqlite
    for pragma in _PRAGMAS:
        connection.execute(pragma)


def _begin_sqlite(connection: Connection) -> None:
    """Take the write lock at once where a transaction will write: upgrading a read transaction
    fails instead of waiting."""
    writes = connection.get_execution_options().get("fleetcd_writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def put(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert `rows`, replacing those whose primary key is there."""
    if not rows:
        return
    statement = _UPSERT[connection.dialect.name](table)
    updates = {column.name: statement.excluded[column.name] for column in _values_of(table)}
    connection.execute(
        statement.on_conflict_do_update(index_elements=list(table.primary_key), set_=updates),
        list(rows),
    )


def put_new(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert `rows`, leaving alone those whose primary key is there."""
    if rows:
        statement = _UPSERT[connection.dialect.name](table).on_conflict_do_nothing()
        connection.execute(statement, list(rows))


def add(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Add the `number` of each row to that of the row with its primary key, or insert it."""
    if not rows:
        return
    statement = _UPSERT[connection.dialect.name](table)
    total = table.c.number + statement.excluded.number
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=list(table.primary_key), set_={"number": total}
        ),
        list(rows),
    )


def _values_of(table: Table) -> list[Any]:
    return [column for column in table.columns if not column.primary_key]
