"""A look at a task that is being processed: milliseconds of CPU, ten images having changed since the look before.

The bars are 10 ms at 4,000 images and 25 ms at 10,000 for the whole task, without compression; that may take 12 ms a
megabyte more. `since` and `images=false` are what the page and programs use. HTTP is not among it: the application is
called in this process.
"""

import tempfile
import time
from base64 import b64encode
from pathlib import Path
from uuid import uuid4

import sqlalchemy as sa
from flask.testing import FlaskClient

from service.db.database import Database
from service.features.faces.models import Face, Image, Task
from service.http.services import provided
from tests.support import application, flask

CREATED = "2026-01-02T03:04:05.678Z"
CHANGED = 10
LOOKS = 20
VIEWS = {"whole": "", "since": "?since={version}", "images=false": "?images=false"}


def make_task(database: Database, size: int) -> tuple[str, list[str]]:
    """Make a task that is being processed, its images done with a face each; return its id and theirs."""
    task, ids = str(uuid4()), [str(uuid4()) for _ in range(size)]
    image = {"task_id": task, "status": "done", "media_type": "image/jpeg", "size": 50_000, "width": 640}
    face = {"number": 1, "x": 1, "y": 2, "width": 100, "height": 120, "gender": "male", "age": 26.0, "score": 0.99}
    with database.write() as session:
        session.add(Task(id=task, status="processing", created_at=CREATED, total=size, done=size - 1))
        session.flush()
        rows = [{"id": name, "position": n, "name": f"{n}.jpg", "height": 480, **image} for n, name in enumerate(ids)]
        session.execute(sa.insert(Image), rows)
        session.execute(sa.insert(Face), [{"image_id": name, **face} for name in ids])
    return task, ids


def look(client: FlaskClient, database: Database, task: str, ids: list[str], query: str, coding: str) -> float:
    """Return the milliseconds of CPU of a look, on average."""
    headers = {"Authorization": f"Basic {b64encode(b'admin:unused').decode()}", "Accept-Encoding": coding}
    taken = 0.0
    for number in range(LOOKS):
        changed = ids[number * CHANGED : (number + 1) * CHANGED]
        with database.write() as session:
            row = session.get_one(Task, task)
            row.version += 1
            session.execute(sa.update(Image).where(Image.id.in_(changed)).values(version=row.version))
            before = row.version - 1
        begin = time.process_time()
        answer = client.get(f"/api/v1/tasks/{task}{query.format(version=before)}", headers=headers)
        taken += time.process_time() - begin
        assert answer.status_code == 200, answer.text
    return taken / LOOKS * 1000


def main() -> None:
    """Print a line for each size."""
    with tempfile.TemporaryDirectory() as folder:
        flask(f"sqlite:///{folder}/service.db", "database", "upgrade")
        with application(Path(folder)) as app:
            client, database = app.test_client(), provided(Database, app)
            for size in (1_000, 4_000, 10_000):
                task, ids = make_task(database, size)
                look(client, database, task, ids, "", "identity")  # the first one reads all of them
                views = {name: (query, "identity") for name, query in VIEWS.items()} | {"compressed": ("", "gzip")}
                figures = {name: look(client, database, task, ids, *view) for name, view in views.items()}
                print(f"{size} images:", ", ".join(f"{name} {figure:.1f} ms" for name, figure in figures.items()))


if __name__ == "__main__":
    main()
