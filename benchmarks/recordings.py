"""MP3 of a recording beside the program `lame` at equal settings: the bar is 0.95 of its speed.

Stereo of 16 bits at 44.1 kHz, a sweep and noise, from file to file. Run by itself, this takes whole uploads over
HTTP, which the program has not to do, and an hour's recording.
"""

import io
import os
import shutil
import statistics
import subprocess
import tempfile
import time
import wave
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import requests

from benchmarks.row import Bar, Row, in_turns
from benchmarks.stage import resident, service
from service.features.recordings import audio

SECONDS, RATE, ROUNDS = 60, 44_100, 4
HOUR = 3600
SETTINGS = ((128, None), (192, None), (320, None), (192, 0), (192, 2), (192, 4))


def write_wav(path: Path, seconds: int) -> None:
    """Write a sweep and noise, a minute at a time."""
    time_of = np.arange(60 * RATE) / RATE
    sweep = 0.4 * np.sin(2 * np.pi * (100 * time_of + 120 * time_of**2))
    noise = 0.3 * np.sin(2 * np.pi * 440 * time_of) + 0.1 * np.random.default_rng(1).standard_normal(60 * RATE)
    minute = (np.stack([sweep, noise], 1) * 32767).clip(-32768, 32767).astype("<i2").tobytes()
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(RATE)
        for _ in range(seconds // 60):
            file.writeframes(minute)


def seconds_of(work: Callable[[], object]) -> float:
    """Return how long it takes."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def cpu_of(work: Callable[[], object]) -> float:
    """Return the seconds of CPU that it takes, those of programs that it waits for included."""
    before = os.times()
    work()
    return sum(os.times()[:4]) - sum(before[:4])


def encode(source: Path, target: Path, bitrate: int, quality: int | None) -> None:
    """Encode as the service does, without HTTP."""
    with source.open("rb") as stream, target.open("wb") as file:
        audio.convert(stream, audio.read_header(stream, 10**5)[0], file, bitrate, quality)


def option(bitrate: int, quality: int | None) -> list[str]:
    """Return the program's option for a setting."""
    return ["-b", str(bitrate)] if quality is None else ["-V", str(quality)]


def with_lame(source: Path, target: Path, bitrate: int, quality: int | None) -> None:
    """Encode by the program."""
    subprocess.run(["lame", "--quiet", *option(bitrate, quality), source, target], check=True)


def rows(_: Path) -> Iterator[Row]:
    """Yield the encoder at each setting."""
    with tempfile.TemporaryDirectory() as name:
        source, target = Path(name, "source.wav"), Path(name, "target.mp3")
        write_wav(source, SECONDS)
        for setting in SETTINGS:
            ways = {"ours": partial(cpu_of, partial(encode, source, target, *setting))}
            if shutil.which("lame"):
                ways["peer"] = partial(cpu_of, partial(with_lame, source, target, *setting))
            found = in_turns(ROUNDS, ways)
            what = f"MP3 of a minute, `{' '.join(option(*setting))}`"
            yield Row(what, "s of CPU", found, peer_name="lame", bars=[Bar(0.95, "peer")])


def compare_uploads(source: Path, target: Path, bitrate: int, quality: int | None) -> None:
    """Print the ratio of the program's time to that of an upload."""
    settings = {"MP3_BITRATE": bitrate} if quality is None else {"MP3_QUALITY": quality}
    with service(**settings) as stage:
        user = stage.client().post("/users", json={"name": "benchmark"}).json()
        form = {"user": user["id"], "token": user["token"]}
        request = stage.client().prepare_request(_upload(stage.url, form, source.read_bytes()))
        session = stage.client()
        found = in_turns(
            ROUNDS,
            {
                "upload": lambda: seconds_of(lambda: session.send(request).raise_for_status()),
                "lame": lambda: seconds_of(lambda: with_lame(source, target, bitrate, quality)),
            },
        )
    upload, program = (statistics.median(found[way]) for way in ("upload", "lame"))
    ratio = statistics.median(other / own for own, other in zip(*found.values(), strict=True))
    setting = " ".join(option(bitrate, quality))
    print(f"{setting:>7}: upload {ratio:.2f} of lame; lame {program:.2f} s, upload {upload:.2f} s")


def _upload(url: str, form: dict[str, str], content: bytes) -> requests.Request:
    return requests.Request("POST", f"{url}/records", data=form, files={"audio": ("a.wav", io.BytesIO(content))})


def hour(source: Path) -> None:
    """Print what an hour's recording takes of a server process."""
    write_wav(source, HOUR)
    limits = {"MAX_AUDIO_BYTES": 700_000_000, "WEB_CONCURRENCY": 1}
    with service(**limits) as stage:
        user = stage.client().post("/users", json={"name": "benchmark"}).json()
        before = resident(stage.workers()[0])
        command = ["curl", "-sSf", "-o", os.devnull, "-F", f"user={user['id']}", "-F", f"token={user['token']}"]
        upload = [*command, "-F", f"audio=@{source};type=audio/wav", f"{stage.url}/records"]
        seconds = seconds_of(lambda: subprocess.run(upload, check=True))
        most = peak(stage.workers()[0])
    print(
        f"an hour, {source.stat().st_size / 1e6:.0f} MB: {seconds:.0f} s; {before:.0f} MB before, {most:.0f} MB at most"
    )


def peak(pid: int) -> float:
    """Return the most memory that a process has had, in MB."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.partition("VmHWM:")[2].split()[0]) / 1024


def main() -> None:
    """Print the ratios of uploads, and what an hour costs."""
    with tempfile.TemporaryDirectory() as name:
        source, target = Path(name, "source.wav"), Path(name, "target.mp3")
        write_wav(source, SECONDS)
        if shutil.which("lame"):
            for bitrate, quality in SETTINGS:
                compare_uploads(source, target, bitrate, quality)
        else:
            print("skipped: the program `lame` to compare with is not installed")
        hour(source)


if __name__ == "__main__":
    main()
