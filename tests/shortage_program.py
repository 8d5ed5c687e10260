"""A program that sends one upload to the application under a limit of this system, for many limits, and prints answers.

Each limit has a process of its own, forked from this one before anything is opened. The program has no other threads.
"""

import io
import os
import resource
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from PIL import Image

from service.app import create_app
from service.config import Settings
from tests.support import photo

PASSWORD = ("admin", "unused")


def webp() -> bytes:
    """Return a sound WebP of 4 megapixels in some kilobytes."""
    file = io.BytesIO()
    Image.new("RGB", (2000, 2000), "teal").save(file, "WEBP", quality=30, method=0)
    return file.getvalue()


def answers(folder: Path, image: bytes, limit: Callable[[], None]) -> Iterator[str]:
    """Yield status and code of each answer."""
    (folder / "files").mkdir(exist_ok=True)
    settings = Settings(
        api_password="unused",
        database_url=f"sqlite:///{folder}/service.db",
        storage_url=f"{folder}/files",
        max_image_pixels=100_000_000,
    )
    app = create_app(settings)
    client = app.test_client()
    limit()
    calls = (("/api/files/", "file", 201), ("/images", "image", 202))
    for path, part, expected in calls:
        form = {part: (io.BytesIO(image), "a.webp"), **({"user_id": "1"} if path == "/images" else {})}
        answer = client.post(path, data=form, auth=PASSWORD)
        code = "" if answer.status_code == expected else (answer.json or {}).get("code", "no problem")
        yield f"{answer.status_code} {code}"


def memory(step: int) -> None:
    """Leave so many times 5 MB of memory."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + step * 5_000_000,) * 2)


def files(step: int) -> None:
    """Leave so many further files."""
    with Path(os.devnull).open() as lowest_free:
        used = lowest_free.fileno()
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + step,) * 2)


def main() -> None:
    """Go through the limits."""
    folder, kind, steps = Path(sys.argv[1]), sys.argv[2], range(*map(int, sys.argv[3:]))
    image, limit = (webp(), memory) if kind == "memory" else (photo(1), files)
    for step in steps:
        sys.stdout.flush()
        if not (child := os.fork()):
            try:
                for answer in answers(folder, image, lambda step=step: limit(step)):  # type: ignore[misc]
                    print(step, answer)
                sys.stdout.flush()
                os._exit(0)
            finally:
                os._exit(3)
        _, status = os.waitpid(child, 0)
        if status:
            print(step, "ended with", status)


if __name__ == "__main__":
    main()
