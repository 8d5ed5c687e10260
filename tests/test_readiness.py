"""Readiness and metrics say what is so, soon and without a word too many, whatever is away, damaged or hanging."""

import os
import shutil
import signal
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
import requests
import sqlalchemy as sa

from service.db.database import Database
from service.errors import TooManyRequests
from service.http.login_throttle import LoginThrottle
from service.http.services import provided
from service.web.readiness import ReadinessMonitor
from tests.conftest import MakeService
from tests.postgresql import PostgreSQLServer
from tests.support import Service, application, wait_for


def ask(service: Service, path: str) -> requests.Response:
    """Ask once: the client of the tests would wait and ask again."""
    return requests.get(service.url + path, auth=("admin", service.password), timeout=20)


@pytest.fixture
def own_server() -> Iterator[PostgreSQLServer]:
    server = PostgreSQLServer()
    server.start()
    yield server
    server.remove()


def test_metrics_are_there_and_the_log_stays_short_while_the_database_is_away(
    make_service: MakeService, own_server: PostgreSQLServer
) -> None:
    service = make_service(DATABASE_URL=own_server.new_database(), WEB_CONCURRENCY=1)
    service.start()
    assert "database_up 1.0" in ask(service, "/metrics").text
    own_server.stop()
    before = len(service.log.read_text().splitlines())
    wait_for(lambda: ask(service, "/readyz").status_code == 503, 10)
    answers = [ask(service, "/metrics") for _ in range(20)]
    assert {answer.status_code for answer in answers} == {200}
    assert "database_up 0.0" in answers[-1].text
    for _ in range(20):
        ready = ask(service, "/readyz")
        assert (ready.status_code, ready.json()["missing"][0]) == (503, "database")
    written = service.log.read_text().splitlines()[before:]
    said = [line for line in written if "message=" not in line and " request " not in line]
    assert len([line for line in said if "not ready" in line]) <= 2
    assert len([line for line in said if "queue cannot be read" in line]) == 1
    assert not any("Traceback" in line for line in written)
    own_server.start()
    wait_for(lambda: ask(service, "/readyz").status_code == 200, 30)
    assert "database_up 1.0" in ask(service, "/metrics").text


def whole(server: PostgreSQLServer, number: signal.Signals) -> None:
    """Send a signal to the server and to its processes, one for each connection."""
    assert server.process
    master = server.process.pid
    children = Path(f"/proc/{master}/task/{master}/children").read_text().split()
    for pid in (master, *map(int, children)):
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def test_a_database_that_hangs_holds_up_no_health_check(
    make_service: MakeService, own_server: PostgreSQLServer
) -> None:
    service = make_service(DATABASE_URL=own_server.new_database(), WEB_CONCURRENCY=1)
    service.start()
    whole(own_server, signal.SIGSTOP)
    try:
        seen, longest = [200], 0.0
        deadline = time.monotonic() + 20
        while seen[-1] != 503:
            assert time.monotonic() < deadline
            begin = time.monotonic()
            seen.append(ask(service, "/readyz").status_code)
            longest = max(longest, time.monotonic() - begin)
            begin = time.monotonic()
            assert ask(service, "/healthz").status_code == 200
            longest = max(longest, time.monotonic() - begin)
        assert longest < 0.5
    finally:
        whole(own_server, signal.SIGCONT)
    wait_for(lambda: ask(service, "/readyz").status_code == 200, 30)


def test_a_database_with_one_damaged_table_is_not_ready(tmp_path: Path, migrated: Path) -> None:
    shutil.copy(migrated, tmp_path / "service.db")
    with closing(sqlite3.connect(tmp_path / "service.db")) as database:
        (page,) = database.execute("SELECT rootpage FROM sqlite_master WHERE name = 'image'").fetchone()
        (size,) = database.execute("PRAGMA page_size").fetchone()
    with (tmp_path / "service.db").open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(os.urandom(size))
    with application(tmp_path) as app:
        answer = app.test_client().get("/readyz")
        assert answer.status_code == 503
        assert "database" in answer.json["missing"]


def test_what_hangs_is_told_from_what_is_slow() -> None:
    hanging = threading.Event()
    monitor = ReadinessMonitor({"store": lambda: hanging.wait(30), "database": lambda: None})
    begin = time.monotonic()
    assert monitor.missing() == ["store"]
    assert time.monotonic() - begin < 0.5
    begin = time.monotonic()
    assert monitor.missing() == ["store"]
    assert time.monotonic() - begin < 0.1, "it waited again"
    hanging.set()
    wait_for(lambda: monitor.missing() == [], 10)


def test_failed_logins_count_where_no_row_can_be_written(tmp_path: Path, migrated: Path) -> None:
    shutil.copy(migrated, tmp_path / "service.db")
    with closing(sqlite3.connect(tmp_path / "service.db")) as database:
        (pages,) = database.execute("PRAGMA page_count").fetchone()
        database.execute("CREATE TABLE filling (content)")
        database.commit()

    def limit(connection: sqlite3.Connection, _record: object, _proxy: object) -> None:
        connection.execute(f"PRAGMA max_page_count={pages}")

    sa.event.listen(sa.pool.Pool, "checkout", limit)
    try:
        with application(tmp_path) as app:
            database = provided(Database, app)
            with pytest.raises(sa.exc.OperationalError, match="full"), database.write() as session:
                session.execute(sa.text("INSERT INTO filling VALUES (zeroblob(1000000))"))
            http = app.test_client()
            codes = [http.get("/api/v1/tasks", auth=("admin", f"wrong {n}")).status_code for n in range(200)]
            assert codes.count(401) <= 100
            assert codes[-1] == 429
            assert http.get("/api/v1/tasks", auth=("admin", "unused")).status_code == 429
    finally:
        sa.event.remove(sa.pool.Pool, "checkout", limit)


def test_failed_logins_count_while_the_database_is_gone(tmp_path: Path, migrated: Path) -> None:
    with application(tmp_path, f"sqlite:///{tmp_path}/nowhere/service.db") as app:
        throttle = LoginThrottle(provided(Database, app), 3, 60)
        for _ in range(3):
            throttle.check("somebody")
            throttle.record_failure("somebody")
        with pytest.raises(TooManyRequests):
            throttle.check("somebody")
        throttle.check("somebody else")
