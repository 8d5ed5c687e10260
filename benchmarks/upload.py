"""Upload of 1,000 photos of 50 KB in one connection, 50 a request: the bar is 1.2 s.

Beside it, in the same run, the bare cost of what cannot be left out: decoding each photo in full at
reduced scale, and writing and syncing it, in one thread.
"""

import io
import os
import tempfile
import time
from pathlib import Path

import requests
from PIL import Image

from benchmarks.stage import resident, service
from tests.support import Client

COUNT, BATCH = 1_000, 50


def photo_of_50_kb() -> bytes:
    """Return a JPEG of about 50 KB, of the size and content of a photo."""
    file = io.BytesIO()
    with Image.open(Path(__file__).parent.parent / "samples" / "astronaut.png") as picture:
        picture.convert("RGB").resize((560, 560)).save(file, "JPEG", quality=80)
    return file.getvalue()


def upload(client: Client, photo: bytes) -> float:
    """Return the seconds that the upload takes, the building of the requests not counted."""
    task = client.task()
    bodies = []
    for _ in range(COUNT // BATCH):
        parts = [("image", (f"{number}.jpg", photo, "image/jpeg")) for number in range(BATCH)]
        request = client.prepare_request(_post(f"{client.url}/api/v1/tasks/{task}/images", parts))
        bodies.append(request)
    begin = time.perf_counter()
    for request in bodies:
        assert client.send(request).status_code == 201
    return time.perf_counter() - begin


def _post(url: str, parts: list[tuple[str, tuple[str, bytes, str]]]) -> requests.Request:
    return requests.Request("POST", url, files=parts)


def bare(photo: bytes) -> float:
    """Return the seconds for decoding, writing and syncing alone."""
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        for number in range(COUNT):
            picture = Image.open(io.BytesIO(photo))
            picture.draft("RGB", (1, 1))
            picture.load()
            with Path(folder, str(number)).open("wb") as file:
                file.write(photo)
                os.fsync(file.fileno())
        return time.perf_counter() - begin


def main() -> None:
    """Print the times and their ratio."""
    photo = photo_of_50_kb()
    with service() as stage:
        client = stage.client()
        upload(client, photo)
        seconds, floor = min(upload(client, photo) for _ in range(3)), min(bare(photo) for _ in range(3))
        memory = max(resident(pid) for pid in stage.workers())
    print(
        f"{COUNT} photos of {len(photo) / 1000:.0f} KB: {seconds:.2f} s (bar 1.2), "
        f"{seconds / floor:.2f} of decoding and syncing alone ({floor:.2f} s); {memory:.0f} MB a process"
    )


if __name__ == "__main__":
    main()
