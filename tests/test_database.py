"""The migrations and the models agree, and transactions keep what they promise, on both databases."""

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

import service.app  # noqa: F401 - it imports every slice, whose models fill the metadata
from service.cli.database import alembic_config
from service.db.database import Database, Model, News, notify, open_database
from service.features.augmentation.models import ImageTask, User
from service.features.faces.models import Task
from service.http.services import provided
from service.jobs.executors import Executor
from service.jobs.file_deletion import FileDeletion
from service.jobs.models import Job
from tests.conftest import on_both_databases
from tests.support import application, flask, wait_for

pytestmark = on_both_databases


@pytest.fixture
def url(new_database: Callable[[Path], str], tmp_path: Path) -> str:
    return new_database(tmp_path)


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    database = open_database(url)
    yield database
    database.close()


@pytest.fixture
def other(url: str) -> Iterator[Database]:
    """Give the same database as another process sees it."""
    other = open_database(url)
    yield other
    other.close()


@contextmanager
def connected(url: str) -> Iterator[sa.Connection]:
    engine = sa.create_engine(url)
    try:
        with engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()


def tables(url: str) -> set[str]:
    with connected(url) as connection:
        return set(sa.inspect(connection).get_table_names()) - {"sqlite_sequence"}


RENAMED = {("image_leftover", column): ("file_deletion", column) for column in ("id", "awaited_by")} | {
    ("image_leftover", "folder"): ("file_deletion", "name"),
    ("face", "position"): ("face", "number"),
    ("job", "attempt"): ("job", "fence"),
}
"""What tables and columns of older revisions are called today."""
SHIFTED = {("face", "position"): 1}
"""What is added to the numbers of older columns to make those of today."""


REWRITTEN = {
    *(("ImageTask", "id"), ("ImageTask", "img_link"), ("ImageTask", "created_at"), ("User", "created_at")),
    ("image", "failed_at"),
}
"""Columns that older revisions have in another form, which a test of their own follows, or that are gone."""


def stored(url: str) -> dict[tuple[str, str], list[object]]:
    """Return the values of each column of each table that is there, under the names and as the numbers of today."""
    there = sa.MetaData()
    with connected(url) as connection:
        there.reflect(connection)
        return {
            RENAMED.get(name := (table.name, column.name), name): list(
                connection.scalars(sa.select(column + SHIFTED[name] if name in SHIFTED else column))
            )
            for table in there.sorted_tables
            for column in table.columns
            if table.name not in ("alembic_version", "sqlite_sequence")
        }


EXAMPLES = {
    ("ImageTask", "key"): "augmentation/x/1/x_gray.jpg",
    ("augmentation_image", "media_type"): "image/jpeg",
}
"""Values of columns that a migration reads."""


def example(column: sa.Column) -> object:
    """Return a value that the column takes; columns that refer to each other get the same."""
    values = {int: 1, float: 1.5, bytes: b"x", bool: True, datetime: datetime(2026, 1, 2, 3, 4, 5, 678_000, UTC)}
    return EXAMPLES.get((column.table.name, column.name), values.get(column.type.python_type, "x"))


def fill(url: str) -> None:
    """Put a row into every table."""
    with connected(url) as connection:
        for table in Model.metadata.sorted_tables:
            connection.execute(sa.insert(table), {column.name: example(column) for column in table.columns})


def a_task(**values: object) -> Task:
    return Task(id="a", created_at="2026-01-01T00:00:00.000Z", **values)


def test_the_migrations_make_just_the_tables_of_the_models(url: str) -> None:
    with connected(url) as connection:
        assert compare_metadata(MigrationContext.configure(connection), Model.metadata) == []


def test_migrations_go_down_and_up_again_with_data_and_spare_what_is_not_theirs(url: str) -> None:
    fill(url)
    full, everything = tables(url), stored(url)
    assert all(everything.values())
    while left := stored(url):
        assert {column: rows for column, rows in left.items() if column not in REWRITTEN} == {
            column: everything[column] for column in left if column not in REWRITTEN
        }
        command.downgrade(alembic_config(url), "-1")
    assert tables(url) == {"alembic_version"}
    command.upgrade(alembic_config(url), "head")
    assert tables(url) == full


def queued_before_0013(url: str, files: Path) -> list[Path]:
    """Go back to revision 0012 and queue what its program left to a job: a folder, and a key whose process died."""
    command.downgrade(alembic_config(url), "0012")
    left = [files / "tasks" / "gone" / "one.jpg", files / "processing" / "7.png"]
    with connected(url) as connection:
        for number, name in ((5, "tasks/gone/"), (9, "processing/7.png")):
            there = {"id": number, "folder": name, "awaited_by": None}
            connection.execute(sa.text("INSERT INTO image_leftover VALUES (:id, :folder, :awaited_by)"), there)
        for number, status in ((5, "queued"), (9, "running")):
            job = {"kind": "renditions.removal", "subject": str(number), "task": f"renditions.removal/{number}"}
            times = dict.fromkeys(("position", "losses", "not_before", "lease_expires_at"), 0)
            row = job | times | {"status": status, "attempt": 1}
            connection.execute(sa.insert(sa.table("job", *map(sa.column, row))), row)
    for path in left:
        path.parent.mkdir(parents=True)
        path.write_bytes(b"x")
    return left


def test_deletions_that_waited_before_their_table_was_renamed_are_carried_out(url: str, tmp_path: Path) -> None:
    left = queued_before_0013(url, tmp_path / "files")
    before = stored(url)
    command.upgrade(alembic_config(url), "head")
    assert stored(url)["file_deletion", "name"] == ["tasks/gone/", "processing/7.png"]
    assert stored(url)["job", "task"] == ["file_deletion/5", "file_deletion/9"]
    command.downgrade(alembic_config(url), "0012")
    assert stored(url) == before
    command.upgrade(alembic_config(url), "head")
    with application(tmp_path, url) as app:
        executor = provided(Executor, app)
        executor.start()
        try:
            wait_for(lambda: not any(path.exists() for path in left), what="the deletion of the files")
            wait_for(lambda: not stored(url)["job", "id"], what="the end of the jobs")
        finally:
            executor.stop()
    assert stored(url)["file_deletion", "id"] == []
    with connected(url) as connection:
        added = sa.insert(FileDeletion).values(name="next").returning(FileDeletion.id)
        assert connection.scalar(added) not in (5, 9)


def test_faces_of_older_revisions_are_numbered_in_their_order_and_say_nothing_new(url: str) -> None:
    fill(url)
    command.downgrade(alembic_config(url), "0013")
    with connected(url) as connection:
        for position in (1, 2):
            face = {"image": "x", "position": position, "x": position, "gender": "unknown"}
            names = "image_id, position, x, y, width, height, gender"
            connection.execute(
                sa.text(f"INSERT INTO face ({names}) VALUES (:image, :position, :x, 0, 9, 9, :gender)"), face
            )
    command.upgrade(alembic_config(url), "head")
    with connected(url) as connection:
        faces = connection.execute(sa.text("SELECT number, x, male_probability, age_low FROM face ORDER BY number"))
        assert [tuple(face) for face in faces] == [(1, 1, None, None), (2, 1, None, None), (3, 2, None, None)]


OLD_TIME = "2026-01-02T03:04:05.678Z"
USER = {"id": "u", "email": "ann@example.com", "password": "hash", "first_name": None, "last_name": "Lee"}
IMAGES = [("team.jpg", "image/jpeg"), ("old.TIFF", "image/png")]


def filled_before_0016(url: str) -> None:
    """Go back to revision 0015 and store a task of two images, the first of which has its copies."""
    command.downgrade(alembic_config(url), "0015")
    there = sa.MetaData()
    with connected(url) as connection:
        there.reflect(connection)

        def add(table: str, **values: object) -> None:
            connection.execute(sa.insert(there.tables[table]).values(**values))

        add("User", **USER, created_at=OLD_TIME)
        add("augmentation_task", id="t", user_id="u", status="done", created_at=OLD_TIME, total=2, done=1, failed=1)
        for position, (name, media_type) in enumerate(IMAGES):
            place = {"task_id": "t", "position": position}
            add("augmentation_image", id=position + 1, **place, name=name, media_type=media_type, status="finished")
        for number, file in enumerate(("0-original", "1-original", "0-rotated", "0-gray", "0-scaled"), 3):
            link = f"augmentation/t/{file}"
            add("ImageTask", id=number, task_id="t", img_link=link, created_at=OLD_TIME)


def test_files_of_augmentation_keep_their_keys_and_get_names_and_uuids(url: str) -> None:
    filled_before_0016(url)
    before = stored(url)
    command.upgrade(alembic_config(url), "head")
    moment = datetime(2026, 1, 2, 3, 4, 5, 678_000, UTC)
    with connected(url) as connection:
        files = connection.execute(sa.select(ImageTask.__table__).order_by(ImageTask.number)).all()
        user = connection.execute(sa.select(User.__table__)).one()._asdict()
    assert [file.number for file in files] == [3, 4, 5, 6, 7]
    assert [file.key.removeprefix("augmentation/t/") for file in files] == [
        *("0-original", "1-original", "0-rotated", "0-gray", "0-scaled")
    ]
    assert [file.img_link for file in files] == [
        *("team_original.jpg", "old_original.png", "team_rotated.jpg", "team_gray.jpg", "team_scaled.jpg")
    ]
    assert [(file.position, file.suffix) for file in files[1:3]] == [(1, "original"), (0, "rotated")]
    assert len({uuid.UUID(file.id) for file in files}) == 5
    assert {file.created_at.replace(tzinfo=UTC) for file in files} == {moment}
    assert user.pop("created_at").replace(tzinfo=UTC) == moment
    assert user == USER | {"token_generation": 0}
    command.downgrade(alembic_config(url), "0015")
    assert stored(url) == before
    command.upgrade(alembic_config(url), "head")
    row = {"task_id": "t", "position": 1, "suffix": "gray", "img_link": "x", "created_at": moment}
    with connected(url) as connection:
        added = sa.insert(ImageTask).values(id="new", key="augmentation/t/1/old_gray.png", **row)
        assert connection.scalar(added.returning(ImageTask.number)) == 8
    command.downgrade(alembic_config(url), "0015")
    command.upgrade(alembic_config(url), "head")
    with connected(url) as connection:
        last = connection.execute(sa.select(ImageTask.__table__).where(ImageTask.number == 8)).one()
    assert (last.key, last.position, last.suffix) == ("augmentation/t/1/old_gray.png", 1, "gray")


def test_renditions_get_their_names_and_paths_as_columns(url: str) -> None:
    command.downgrade(alembic_config(url), "0016")
    there = sa.MetaData()
    version = {"name": "my cat.png", "status": "done", "media_type": "image/png", "size": 1, "width": 2, "height": 3}
    with connected(url) as connection:
        there.reflect(connection)
        rows = {
            "owned_image": {"id": "i", "owner_type": "user", "owner_id": "a/b", "replaces": False, "created_at": ""},
            "image_version": {"id": "v", "image_id": "i", **version},
            "rendition": {"version_id": "v", "kind": "small", "width": 1, "height": 1, "size": 1},
        }
        for table, row in rows.items():
            connection.execute(sa.insert(there.tables[table]).values(**row))
    before = stored(url)
    command.upgrade(alembic_config(url), "head")
    after = stored(url)
    assert (after["image_version", "path"], after["image_version", "url"]) == (["images/user/a.2fb/v/original"], [None])
    assert after["rendition", "path"] == ["images/user/a.2fb/v/small.webp"]
    assert after["rendition", "name"] == ["my cat_small.webp"]
    command.downgrade(alembic_config(url), "0016")
    assert stored(url) == before


def test_two_upgrades_at_once_make_the_tables_once(url: str) -> None:
    full = tables(url)
    command.downgrade(alembic_config(url), "base")
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: flask(url, "database", "upgrade"), range(2)))
    assert tables(url) == full


def test_a_reader_waits_for_nobody_and_sees_one_moment(database: Database) -> None:
    with database.write() as writing:
        writing.add(a_task())
        writing.flush()
        with database.read() as reading:
            assert reading.scalar(sa.select(sa.func.count()).select_from(Task)) == 0
    with database.read() as reading:
        assert reading.scalar(sa.select(Task.version)) == 1
        with database.write() as writing:
            writing.execute(sa.update(Task).values(version=2))
        assert reading.scalar(sa.select(Task.version)) == 1
    with database.read() as reading:
        assert reading.scalar(sa.select(Task.version)) == 2


def test_who_holds_a_name_keeps_others_waiting_until_the_commit(database: Database, other: Database) -> None:
    """Without it one of the two increments would be lost: each reads before the other writes."""
    with database.write() as session:
        session.add(a_task())
    entered = threading.Event()

    def increment(mine: Database) -> None:
        with mine.write() as session:
            mine.lock(session, ["a", "b"])
            version = session.scalar(sa.select(Task.version))
            assert version
            entered.set()
            time.sleep(0.05)
            session.execute(sa.update(Task).values(version=version + 1))

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(increment, [database, other]))
    assert entered.is_set()
    with database.read() as session:
        assert session.scalar(sa.select(Task.version)) == 3


def test_a_failed_transaction_leaves_nothing(database: Database) -> None:
    def write_and_fail() -> None:
        with database.write() as session:
            session.add(a_task())
            session.flush()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_and_fail()
    with database.read() as reading:
        assert reading.scalar(sa.select(sa.func.count()).select_from(Task)) == 0


def test_a_listener_hears_of_others_commits_and_not_before_them(database: Database, other: Database) -> None:
    heard: list[News] = []
    database.listen(heard.append)

    def is_heard() -> bool:
        with other.write() as session:
            notify(session, "warm-up")
        return bool(heard)

    wait_for(is_heard, what="the first word")
    heard.clear()
    with other.write() as session:
        notify(session, "faces", [7])
        session.flush()
        time.sleep(0.05)
        assert all("faces" not in news for news in heard)
    wait_for(lambda: {"faces": ()} in heard, what="the word after the commit")


def test_a_process_hears_its_own_commits_once_with_the_ids_and_none_that_fail(database: Database) -> None:
    heard: list[News] = []
    database.observe(heard.append)
    with database.write() as session:
        notify(session, "faces", [7, 8])
        notify(session, "copies")

    def fail() -> None:
        with database.write() as session:
            notify(session, "faces", [9])
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert heard == [{"faces": [7, 8], "copies": []}]


def test_ids_of_jobs_are_never_given_twice(database: Database) -> None:
    def add() -> int:
        with database.write() as session:
            job = Job(kind="k", subject="s", task="t", position=0)
            session.add(job)
            session.flush()
            return job.id

    first = add()
    with database.write() as session:
        session.execute(sa.delete(Job))
    assert add() > first
