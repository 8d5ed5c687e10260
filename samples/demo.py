"""`make demo`: starts a service of its own, sends it photos, and prints the faces that it found.

Without arguments it takes the photos beside this file; `python -m samples.demo PHOTO …` takes yours.

Exit codes: 0 every photo was processed · 1 some were not · 2 the service could not do it · 130, 143 interrupted.
"""

import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import requests
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

SAMPLES = Path(__file__).parent
PORTRAIT = "grace_hopper.jpg"
ROOT = SAMPLES.parent
USER = "demo"

READY_WITHIN = 60  # seconds until the service must answer
DONE_WITHIN = 900  # seconds until the task must have ended; the embedded engine needs less than one
GONE_WITHIN = 30  # seconds from SIGTERM until the service is killed; it takes at most 25
PIPED_WIDTH = 100  # columns, where there is no terminal to ask


class DemoFailed(Exception):
    """The demo cannot go on; the message is for the person who started it."""


class Service:
    """The service under test drive: its process, its address, and a client that is logged in."""

    def __init__(self, process: subprocess.Popen[bytes], url: str, password: str, log: Path) -> None:
        self.process = process
        self.url = url
        self.log = log
        self.client = requests.Session()
        self.client.auth = (USER, password)
        self.client.trust_env = False  # no proxy stands between here and 127.0.0.1

    def call(self, method: str, path: str, **more: Any) -> Any:
        """Call the API and return its JSON; raises DemoFailed with the service's own words."""
        try:
            response = self.client.request(method, f"{self.url}/api/v1{path}", timeout=120, **more)
            body = response.json()
        except requests.RequestException as error:
            raise DemoFailed(f"The service did not answer: {error}\n{tail(self.log)}") from error
        if not response.ok:
            raise DemoFailed(f"The service answered {response.status_code}: {body['detail']}")
        return body

    def wait_until_ready(self) -> None:
        """Wait until it can work; raises DemoFailed with the end of its log."""
        deadline = time.monotonic() + READY_WITHIN
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise DemoFailed(f"The service did not start.\n{tail(self.log)}")
            try:
                if self.client.get(f"{self.url}/readyz", timeout=5).ok:
                    return
            except requests.RequestException:
                pass  # it does not listen yet
            time.sleep(0.05)
        raise DemoFailed(f"The service was not ready within {READY_WITHIN} s.\n{tail(self.log)}")


def tail(log: Path) -> str:
    """Return the last lines of the service's log."""
    lines = log.read_text("utf-8", errors="replace").splitlines()
    return "\n".join(lines[-15:])


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def running_service() -> Iterator[Service]:
    """Start a service in a folder of its own; stop it and remove the folder at the end, whatever happens."""
    with tempfile.TemporaryDirectory(prefix="demo-") as name:
        folder = Path(name)
        port, password = free_port(), secrets.token_urlsafe(16)
        own = {
            "API_USERNAME": USER,
            "API_PASSWORD": password,
            "DATABASE_URL": f"sqlite:///{folder / 'service.db'}",
            "STORAGE_URL": str(folder / "files"),
            "HOST": "127.0.0.1",
            "PORT": str(port),
            "FACE_ENGINE": os.environ.get("FACE_ENGINE") or "local",
            "FLASK_APP": "wsgi",
        }
        environment = os.environ | own
        environment.pop("GUNICORN_CMD_ARGS", None)
        log = folder / "log"
        with log.open("wb") as output:
            common: dict[str, Any] = {"cwd": ROOT, "env": environment, "stdout": output, "stderr": output}
            made = subprocess.run([sys.executable, "-m", "flask", "database", "upgrade"], check=False, **common)
            if made.returncode:
                raise DemoFailed(f"The database could not be made.\n{tail(log)}")
            # In a session of its own, so that Ctrl-C reaches the demo alone, which then stops the service.
            process = subprocess.Popen([sys.executable, "-m", "gunicorn"], start_new_session=True, **common)
            try:
                service = Service(process, f"http://127.0.0.1:{port}", password, log)
                with service.client:
                    service.wait_until_ready()
                    yield service
            finally:
                stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ask the service to end; kill it, and its workers, when it does not or when nobody wants to wait."""
    process.terminate()
    try:
        process.wait(GONE_WITHIN)
    except BaseException as error:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if not isinstance(error, subprocess.TimeoutExpired):
            raise


def process_photos(service: Service, photos: Sequence[Path], show: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Upload the photos into a task, start it, call `show` with each state, and return the finished task."""
    task = service.call("POST", "/tasks", json={"name": "demo"})
    path = f"/tasks/{task['id']}"
    with ExitStack() as opened:
        parts = [("image", (photo.name, opened.enter_context(photo.open("rb")))) for photo in photos]
        service.call("POST", f"{path}/images", files=parts)
    service.call("POST", f"{path}/start")
    deadline = time.monotonic() + DONE_WITHIN
    while time.monotonic() < deadline:
        task = service.call("GET", path)
        show(task)
        if task["status"] != "processing":
            finished: dict[str, Any] = task
            return finished
        time.sleep(0.1)
    raise DemoFailed(f"The task did not end within {DONE_WITHIN} s; so far {task['progress']}.")


def correct_unsure_portrait(service: Service, task: dict[str, Any]) -> str | None:
    """Correct the face of Grace Hopper, of whom the engine is not sure; return what that changed, if it is there."""
    for image in task["images"]:
        if image["name"] != PORTRAIT or [face["gender"] for face in image["faces"]] != ["unknown"]:
            continue
        path = f"/tasks/{task['id']}/images/{image['id']}/faces/{image['faces'][0]['number']}"
        before = image["faces"][0]
        after = service.call("PATCH", path, json={"gender": "female", "age": 77})
        return (
            f"{PORTRAIT}: the engine is unsure of Grace Hopper, male by {number(before['male_probability'], '.2f')}. "
            f"A person corrects her: {after['gender']}, {after['age']:.0f}. "
            f"What the engine said stays beside it: {after['detected']['gender']}, {after['detected']['age']:.0f}."
        )
    return None


def plain_table(title: str) -> Table:
    """Return an empty table in the style of the demo."""
    style = {"title_justify": "left", "title_style": "bold", "header_style": "bold", "border_style": "dim"}
    return Table(title=title, box=box.ROUNDED, **style)  # type: ignore[arg-type]


def faces_table(task: dict[str, Any]) -> Table:
    """Return a table with a row for each face, and one for each photo without any."""
    table = plain_table("Faces")
    table.add_column("Photo", overflow="fold")
    table.add_column("Faces", justify="right")
    table.add_column("Gender")
    table.add_column("Age", justify="right")
    table.add_column("Nine in ten", justify="right")
    table.add_column("Box: left, top, width × height", no_wrap=True)
    table.add_column("Score", justify="right")
    for image in task["images"]:
        failed = image["status"] == "failed"
        first = [Text(image["name"]), Text("failed", "red") if failed else Text(str(len(image["faces"])))]
        for cells in [face_cells(face) for face in image["faces"]] or [[Text("–", "dim")] * 5]:
            table.add_row(*first, *cells)
            first = [Text(""), Text("")]
    return table


def face_cells(face: dict[str, Any]) -> list[Text]:
    """Return the cells of one face."""
    left, top, width, height = (face["bbox"][side] for side in ("x", "y", "width", "height"))
    colour = {"male": "cyan", "female": "magenta"}.get(face["gender"], "yellow")
    low, high = (number(face[edge], ".0f") for edge in ("age_low", "age_high"))
    return [
        Text("unsure" if face["gender"] == "unknown" else face["gender"], colour),
        Text(number(face["age"], ".1f")),
        Text(f"{low} to {high}"),
        Text(f"{left}, {top}, {width} × {height}"),
        Text(number(face["score"], ".3f")),
    ]


def number(value: float | None, form: str) -> str:
    """Return a number, or a dash where the engine did not say."""
    return "–" if value is None else format(value, form)


def statistics_table(task: dict[str, Any]) -> Table:
    """Return the task's statistics; a face of unknown gender counts as neither man nor woman."""
    found = task["statistics"]
    table = plain_table("Statistics")
    table.add_column("")
    table.add_column("Number", justify="right")
    table.add_column("Average age", justify="right")
    table.add_row("Photos", str(task["progress"]["total"]), "")
    table.add_row("Faces", str(found["faces"]), "")
    for people in ("men", "women"):
        table.add_row(people.capitalize(), str(found[people]), number(found[f"{people}_average_age"], ".1f"))
    table.add_row("Unsure", str(found["unknown"]), "")
    return table


def demonstrate(console: Console, photos: Sequence[Path]) -> int:
    """Do all of it and return the exit code."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("Starting a service …", total=None)

        def show(task: dict[str, Any]) -> None:
            ended = task["progress"]["done"] + task["progress"]["failed"]
            progress.update(bar, description="Looking for faces …", total=len(photos), completed=ended)

        with running_service() as service:
            progress.update(bar, description="Uploading …", total=len(photos))
            try:
                task = process_photos(service, photos, show)
                correction = correct_unsure_portrait(service, task)
            finally:
                progress.update(bar, description="Stopping the service …")
        progress.update(bar, description="Done.")

    console.print()
    console.print(faces_table(task))
    console.print()
    console.print(statistics_table(task))
    for image in task["images"]:
        if image["error"]:
            console.print(Text(f"{image['name']}: {image['error']['code']}. {image['error']['detail']}", "red"))
    for warning in task["statistics"]["warnings"]:
        console.print(Text(warning["detail"], "yellow"))
    if correction:
        console.print(Text(f"\n{correction}"))
    console.print(Text("\nAges and genders are estimates; docs/engine.md says how far they are off.", "dim"))
    return 0 if task["status"] == "completed" else 1


def end_with_143(number: int, frame: FrameType | None) -> NoReturn:
    """Let SIGTERM unwind as Ctrl-C does, so that the service is stopped and its folder removed."""
    sys.exit(128 + number)


def main(arguments: Sequence[str]) -> int:
    """Run the demo from the command line."""
    console = Console() if sys.stdout.isatty() else Console(width=PIPED_WIDTH)
    signal.signal(signal.SIGTERM, end_with_143)
    photos = [Path(name) for name in arguments] or sorted([*SAMPLES.glob("*.jpg"), *SAMPLES.glob("*.png")])
    missing = [photo for photo in photos if not photo.is_file()]
    try:
        if missing or not photos:
            raise DemoFailed(f"There is no file {missing[0]}." if missing else f"There are no photos in {SAMPLES}.")
        return demonstrate(console, photos)
    except DemoFailed as error:
        console.print(Text(str(error), "red"))
        return 2
    except KeyboardInterrupt:
        console.print("Interrupted; the service is stopped and its folder removed.")
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
