"""Calls of FaceCloud in a bare loop: the limit of the work on a task, by `requests`, without service and database.

As a program, with the address and the number of photos, it prints the seconds from the first call to the last answer
and the seconds of CPU. It has as many processes and threads as the services beside it; each thread has its part of the
photos. Logins and connections come before.
"""

import json
import multiprocessing
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import NamedTuple

import requests

from benchmarks.photos import NUMBER, photos

PROCESSES, THREADS = 2, 8
"""As many as of the services beside it."""
ROOT = Path(__file__).parents[1]


class Cost(NamedTuple):
    """What the loop took, in seconds."""

    wall: float
    cpu: float


def run(url: str, count: int, threads: int = THREADS) -> Cost:
    """Run the loop in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.bare_calls", url, str(count), str(threads)]
    output = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout
    return Cost(*json.loads(output))


def _loop(url: str, count: int, threads: int, first: int, ready: Barrier, told: Connection) -> None:
    """Send every `PROCESSES`-th photo from the first on."""
    login = requests.post(f"{url}/api/v1/login", json={"email": "developer@example.com", "password": "any"}, timeout=60)
    headers = {"Content-Type": "image/jpeg", "Authorization": f"Bearer {login.json()['data']['access_token']}"}
    sessions = [requests.Session() for _ in range(threads)]

    def send(thread: int, numbers: range) -> None:
        for number in numbers:
            sessions[thread].post(
                f"{url}/api/v1/detect?demographics=true", photos()[number % NUMBER], headers=headers, timeout=60
            ).raise_for_status()

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(send, range(threads), [range(1)] * threads))
        ready.wait()
        before = time.process_time()
        list(pool.map(send, range(threads), _parts(count, threads, first)))
        told.send((time.time(), time.process_time() - before))


def _parts(count: int, threads: int, first: int) -> list[range]:
    lanes = PROCESSES * threads
    return [range(first * threads + thread, count, lanes) for thread in range(threads)]


def main() -> None:
    """Print the cost."""
    url, count, threads = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    photos()
    context = multiprocessing.get_context("fork")
    ready, pipes = context.Barrier(PROCESSES + 1), [context.Pipe(duplex=False) for _ in range(PROCESSES)]
    processes = [
        context.Process(target=_loop, args=(url, count, threads, first, ready, told))
        for first, (_, told) in enumerate(pipes)
    ]
    for process in processes:
        process.start()
    ready.wait()
    begin = time.time()
    ended, cpu = zip(*(heard.recv() for heard, _ in pipes), strict=True)
    print(json.dumps([max(ended) - begin, sum(cpu)]))


if __name__ == "__main__":
    main()
