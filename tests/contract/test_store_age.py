"""The database keeps events for 90 days: then they make room, a few with every new one."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, inspect, text

from reconciler.adapters.sql_engine import HEAD, MIGRATIONS, Database
from reconciler.adapters.sql_store import SqlStore
from tests.support.gateway_device import NOW, SigningDevice, event
from tests.support.gateway_world import ROLLOUT, everybody, joined, manifest, publish, tell


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'fleetcd.db'}"


@pytest.fixture
def store(url: str) -> Iterator[SqlStore]:
    opened = SqlStore.open(url, lambda: NOW)
    yield opened
    opened.close()


def told(store: SqlStore, number: int) -> SigningDevice:
    """Return a device that has reported so many events, all at once."""
    (device,) = joined(store, "kiosk-0001")
    publish(store, [device], manifest(everybody()))
    tell(store, device, *(event(ROLLOUT) for _ in range(number)))
    return device


def stored(url: str) -> int:
    with create_engine(url).connect() as connection:
        return connection.scalar(text("SELECT count(*) FROM events")) or 0


def test_an_event_is_kept_for_90_days(store: SqlStore, url: str) -> None:
    device = told(store, 1)
    tell(store, device, event(ROLLOUT), at=NOW + timedelta(days=90))
    assert stored(url) == 2
    tell(store, device, event(ROLLOUT), at=NOW + timedelta(days=90, seconds=1))
    assert stored(url) == 2


def test_each_event_makes_room_for_two_old_ones_at_most(store: SqlStore, url: str) -> None:
    device = told(store, 5)
    later = NOW + timedelta(days=100)
    left = []
    for _ in range(4):
        tell(store, device, event(ROLLOUT), at=later)
        left.append(stored(url))
    assert left == [4, 3, 3, 4]


def test_a_report_without_events_makes_no_room(store: SqlStore, url: str) -> None:
    device = told(store, 1)
    tell(store, device, at=NOW + timedelta(days=100))
    assert stored(url) == 1


def test_old_events_are_found_by_an_index(store: SqlStore, url: str) -> None:
    query = "SELECT key, id FROM events WHERE received_at < 1 ORDER BY received_at LIMIT 2"
    with create_engine(url).connect() as connection:
        plan = " ".join(str(row) for row in connection.execute(text(f"EXPLAIN QUERY PLAN {query}")))
    assert "events_by_age" in plan
    assert "TEMP B-TREE" not in plan


def test_a_database_of_the_first_schema_gets_the_index_and_keeps_what_it_has(url: str) -> None:
    store = SqlStore.open(url, lambda: NOW)
    told(store, 3)
    store.close()
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with create_engine(url).begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0001")
    database = Database(url)
    assert database.revision() == HEAD
    database.close()
    indexes = inspect(create_engine(url)).get_indexes("events")
    assert "events_by_age" in {index["name"] for index in indexes}
    assert stored(url) == 3
