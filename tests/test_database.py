"""The migrations and the models agree, and migrations go down and up again."""

from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

import service.app  # noqa: F401 - it imports every slice, whose models fill the metadata
from service.db import Database, Model
from tests.support import flask


def tables(database: Path) -> set[str]:
    engine = sa.create_engine(f"sqlite:///{database}")
    names = set(sa.inspect(engine).get_table_names())
    engine.dispose()
    return names


def test_the_migrations_make_just_the_tables_of_the_models(migrated: Path) -> None:
    engine = sa.create_engine(f"sqlite:///{migrated}")
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Model.metadata) == []
    engine.dispose()


def test_migrations_go_down_and_up_again(tmp_path: Path) -> None:
    database = tmp_path / "service.db"
    flask(f"sqlite:///{database}", "database", "upgrade")
    full = tables(database)
    flask(f"sqlite:///{database}", "database", "downgrade", "base")
    assert tables(database) <= {"alembic_version", "sqlite_sequence"}
    flask(f"sqlite:///{database}", "database", "upgrade")
    assert tables(database) == full


def test_a_writer_waits_for_another_one_and_a_reader_for_nobody(migrated: Path, tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/service.db")
    with database.write() as session:
        session.execute(sa.text("CREATE TABLE thing (number INTEGER)"))
    with database.write() as writing:
        writing.execute(sa.text("INSERT INTO thing VALUES (1)"))
        with database.read() as reading:
            assert reading.scalar(sa.text("SELECT count(*) FROM thing")) == 0
    with database.read() as reading:
        assert reading.scalar(sa.text("SELECT count(*) FROM thing")) == 1
    database.close()


def test_a_failed_transaction_leaves_nothing(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/service.db")
    with database.write() as session:
        session.execute(sa.text("CREATE TABLE thing (number INTEGER)"))

    def write_and_fail() -> None:
        with database.write() as session:
            session.execute(sa.text("INSERT INTO thing VALUES (1)"))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_and_fail()
    with database.read() as reading:
        assert reading.scalar(sa.text("SELECT count(*) FROM thing")) == 0
    database.close()


def test_a_watch_sees_what_others_commit(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/service.db")
    changed = database.watch()
    changed()
    assert not changed()
    other = Database(f"sqlite:///{tmp_path}/service.db")
    with other.write() as session:
        session.execute(sa.text("CREATE TABLE thing (number INTEGER)"))
    assert changed()
    assert not changed()
    other.close()
    database.close()
