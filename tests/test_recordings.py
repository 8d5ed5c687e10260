"""Recordings over HTTP, against a running service with two processes: WAV in, MP3 out."""

import io
import re
import shutil
import socket
import struct
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
import soundfile

from service.app import create_app
from service.config import BadSettings, Settings
from service.db.database import Database
from service.features.recordings import mp3, operations
from service.features.recordings.operations import Services
from service.http.services import provided
from tests.conftest import MakeService
from tests.support import Client, Service, wait_for
from tests.test_tasks import problem

MAX_BYTES, MAX_SECONDS = 6_000_000, 20
PCM, FLOAT, ADPCM, ALAW, ULAW = 1, 3, 2, 6, 7
UUID = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"


@dataclass
class Stage:
    """A service with a small limit, a user of it, and the folder of its temporary files."""

    service: Service
    temporary: Path
    client: Client
    user: dict[str, str]

    def send(self, audio: bytes, **fields: Any) -> requests.Response:
        """Send a recording, without HTTP Basic."""
        form = {"user": self.user["id"], "token": self.user["token"], **fields}
        return requests.post(f"{self.service.url}/records", data=form, files={"audio": ("a.wav", audio)}, timeout=60)

    def listen(self, audio: bytes) -> tuple[Any, int]:
        """Send a recording, download the MP3, and return its sound (frames × channels) and its rate."""
        answer = self.send(audio)
        assert answer.status_code == 201, answer.text
        return decoded(requests.get(answer.json()["url"], timeout=60).content)

    def left(self) -> tuple[list[str], list[str]]:
        """Return what is stored, and what is in the temporary folder."""
        return sorted(self.service.left_files()), sorted(path.name for path in self.temporary.iterdir())


def decoded(content: bytes) -> tuple[Any, int]:
    sound, rate = soundfile.read(io.BytesIO(content), always_2d=True)
    return sound, rate


def made_stage(service: Service, temporary: Path) -> Stage:
    client = service.start()
    answer = client.post("/users", json={"name": "Ada"})
    assert answer.status_code == 201
    return Stage(service, temporary, client, answer.json())


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory, migrated: Path) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("recordings")
    temporary = folder / "temporary"
    temporary.mkdir()
    shutil.copy(migrated, folder / "service.db")
    limits = {"MAX_AUDIO_BYTES": MAX_BYTES, "MAX_AUDIO_SECONDS": MAX_SECONDS}
    service = Service(folder, **limits, TMPDIR=temporary)
    yield made_stage(service, temporary)
    service.kill()


@cache
def sweep(rate: int, seconds: float = 2.0, highest: float | None = None, at: int | None = None) -> Any:
    """Return a tone that rises from 50 Hz; `at` is the rate at which it is sampled, `rate` that which bounds it."""
    highest = highest or min(rate * 0.35, 8_000)
    time = np.arange(round(seconds * (at or rate))) / (at or rate)
    return 0.5 * np.sin(2 * np.pi * (50 * time + (highest - 50) / 2 / seconds * time**2))


def coded(sound: Any, bits: int, coding: int = PCM) -> bytes:
    """Return samples as the bytes of a WAV."""
    if coding == FLOAT:
        return bytes(np.asarray(sound, f"<f{bits // 8}").tobytes())
    if bits == 8:
        return bytes(np.rint(np.asarray(sound) * 127 + 128).astype(np.uint8).tobytes())
    numbers = np.rint(np.asarray(sound) * (2.0 ** (bits - 1) - 1)).astype("<i4")
    return bytes(numbers.reshape(-1, 1).view(np.uint8).reshape(-1, 4)[:, : bits // 8].tobytes())


def chunk(name: bytes, content: bytes, length: int | None = None) -> bytes:
    padding = b"\0" * (len(content) % 2)
    return name + struct.pack("<I", len(content) if length is None else length) + content + padding


def fmt(rate: int, channels: int, bits: int, coding: int = PCM, mask: int | None = None) -> bytes:
    frame = channels * bits // 8
    number = coding if mask is None else 0xFFFE
    content = struct.pack("<HHIIHH", number, channels, rate, rate * frame % 2**32, frame % 2**16, bits)
    if mask is not None:
        tail = bytes.fromhex("000000001000800000aa00389b71")
        content += struct.pack("<HHIH", 22, bits, mask, coding) + tail
    return chunk(b"fmt ", content)


def wav(  # noqa: PLR0913 - one for each thing that can be wrong with a file
    sound: Any,
    rate: int = 16_000,
    bits: int = 16,
    coding: int = PCM,
    *,
    mask: int | None = None,
    data: bytes | None = None,
    data_length: int | None = None,
    riff_length: int | None = None,
    before: bytes = b"",
    after: bytes = b"",
    riff: bytes = b"RIFF",
) -> bytes:
    """Return a WAV file of frames × channels, or of one channel, with what is wrong with it."""
    sound = np.asarray(sound)
    channels = 1 if sound.ndim == 1 else sound.shape[1]
    data = coded(sound, bits, coding) if data is None else data
    content = b"WAVE" + before + fmt(rate, channels, bits, coding, mask) + chunk(b"data", data, data_length) + after
    return riff + struct.pack("<I", len(content) if riff_length is None else riff_length) + content


def correlation(one: Any, other: Any) -> float:
    length = min(len(one), len(other))
    return float(np.corrcoef(one[:length], other[:length])[0, 1])


def check_sound(heard: tuple[Any, int], rate: int, channels: int, seconds: float = 2.0) -> None:
    """The sweep of `rate` is heard in every channel, in full length."""
    sound, got_rate = heard
    assert got_rate == mp3.rate_for(rate)
    assert sound.shape[1] == channels
    assert abs(len(sound) / got_rate - seconds) < 0.05
    for channel in sound.T:
        assert correlation(channel, sweep(rate, seconds, at=got_rate)) > 0.99


def test_a_recording_lives_from_the_user_to_the_download(stage: Stage) -> None:
    assert sorted(stage.user) == ["id", "token"]
    assert re.fullmatch(UUID, stage.user["id"])
    assert re.fullmatch(UUID, stage.user["token"])
    answer = stage.send(wav(sweep(44_100), 44_100))
    assert answer.status_code == 201
    recording = answer.json()
    assert recording["url"] == f"{stage.service.url}/record?id={recording['id']}&user={stage.user['id']}"
    assert recording["url"].endswith(answer.headers["Location"])
    got = requests.get(recording["url"], timeout=60)
    assert got.status_code == 200
    assert got.headers["Content-Type"] == "audio/mpeg"
    assert got.headers["Content-Disposition"] == f'attachment; filename="{recording["id"]}.mp3"'
    assert got.headers["Cache-Control"].startswith("private")
    assert got.headers["Accept-Ranges"] == "bytes"
    check_sound(decoded(got.content), 44_100, 1)

    part = requests.get(recording["url"], headers={"Range": "bytes=100-299"}, timeout=60)
    assert part.status_code == 206
    assert part.headers["Content-Range"] == f"bytes 100-299/{len(got.content)}"
    assert part.content == got.content[100:300]
    assert requests.get(recording["url"], headers={"Range": "bytes=-50"}, timeout=60).content == got.content[-50:]
    beyond = requests.get(recording["url"], headers={"Range": f"bytes={len(got.content)}-"}, timeout=60)
    problem(beyond, 416)
    assert beyond.headers["Content-Range"] == f"bytes */{len(got.content)}"
    same = requests.get(recording["url"], headers={"If-None-Match": got.headers["ETag"]}, timeout=60)
    assert (same.status_code, same.content) == (304, b"")
    head = requests.head(recording["url"], timeout=60)
    assert (head.status_code, head.headers["Content-Length"]) == (200, str(len(got.content)))


@pytest.mark.parametrize(
    ("bits", "coding"), [(8, PCM), (16, PCM), (24, PCM), (32, PCM), (32, FLOAT), (64, FLOAT)], ids=str
)
@pytest.mark.parametrize("mask", [None, 3], ids=["plain", "extensible"])
def test_every_width_sounds_the_same(stage: Stage, bits: int, coding: int, mask: int | None) -> None:
    both = np.stack([sweep(44_100)] * 2, 1)
    check_sound(stage.listen(wav(both, 44_100, bits, coding, mask=mask)), 44_100, 2)


@pytest.mark.parametrize("subtype", ["ALAW", "ULAW", "GSM610", "IMA_ADPCM", "MS_ADPCM"])
@pytest.mark.parametrize("channels", [1, 2])
def test_telephone_codings_are_taken(stage: Stage, subtype: str, channels: int) -> None:
    if (subtype, channels) == ("GSM610", 2):
        channels = 1  # it has no more
    file = io.BytesIO()
    soundfile.write(file, np.stack([sweep(8_000, highest=1_500)] * channels, 1), 8_000, subtype, format="WAV")
    sound, rate = stage.listen(file.getvalue())
    assert (rate, sound.shape[1]) == (8_000, channels)
    assert abs(len(sound) / rate - 2) < 0.05
    for channel in sound.T:
        assert correlation(channel, sweep(8_000, highest=1_500)) > 0.95


@pytest.mark.parametrize(("bits", "coding"), [(24, PCM), (32, PCM), (32, FLOAT), (64, FLOAT)], ids=str)
@pytest.mark.parametrize("rate", [44_100, 96_000])
def test_quiet_sounds_keep_all_their_bits(stage: Stage, bits: int, coding: int, rate: int) -> None:
    for level, least in ((-60, 65), (-102, 40), (-110, 30)):
        tone = 10 ** (level / 20) * np.sin(2 * np.pi * 997 * np.arange(2 * rate) / rate)
        sound, got_rate = stage.listen(wav(tone, rate, bits, coding))
        heard, time = sound[4_000:-4_000, 0], np.arange(len(sound))[4_000:-4_000] / got_rate
        waves = np.stack([np.sin(2 * np.pi * 997 * time), np.cos(2 * np.pi * 997 * time)], 1)
        signal = waves @ np.linalg.lstsq(waves, heard, rcond=None)[0]
        assert 10 * np.log10((signal**2).sum() / ((heard - signal) ** 2).sum()) > least, level


def test_floats_beyond_full_scale_come_back_as_they_were(stage: Stage) -> None:
    heard, _ = stage.listen(wav(8 * sweep(44_100), 44_100, 32, FLOAT))
    assert correlation(heard[:, 0], sweep(44_100)) > 0.999
    assert np.abs(heard).max() == pytest.approx(4, rel=0.05)


@pytest.mark.parametrize(
    "rate",
    [
        4_000,
        5_512,
        8_000,
        8_001,
        11_025,
        12_000,
        16_000,
        22_050,
        24_000,
        32_000,
        37_800,
        44_056,
        44_100,
        48_000,
        96_000,
        192_000,
        384_000,
    ],
)
def test_every_rate_keeps_its_length_and_sound(stage: Stage, rate: int) -> None:
    check_sound(stage.listen(wav(sweep(rate), rate)), rate, 1)


@pytest.mark.parametrize("rate", [96_000, 44_056])
@pytest.mark.parametrize("bits", [8, 24])
def test_resampled_stereo_of_other_widths_keeps_its_sides(stage: Stage, rate: int, bits: int) -> None:
    left = np.stack([sweep(rate), np.zeros(2 * rate)], 1)
    sound, got_rate = stage.listen(wav(left, rate, bits))
    assert correlation(sound[:, 0], sweep(rate, at=got_rate)) > 0.99
    assert np.abs(sound[:, 1]).max() < 0.02


@pytest.mark.parametrize("samples", [1, 2, 100, 1151, 1152, 1153])
def test_the_shortest_recordings_keep_their_length(stage: Stage, samples: int) -> None:
    sound, _ = stage.listen(wav(sweep(16_000)[:samples]))
    assert len(sound) == samples


@pytest.mark.parametrize("channels", [3, 4, 5, 6, 7, 8, 11, 64])
def test_no_channel_is_lost(stage: Stage, channels: int) -> None:
    rate, step = 16_000, 2_000 if channels < 64 else 600
    sound = np.zeros((channels * step, channels))
    for number in range(channels):
        sound[number * step : (number + 1) * step, number] = 0.9 * np.sin(np.arange(step) / rate * 2 * np.pi * 500)
    heard, _ = stage.listen(wav(sound, rate, mask=0 if channels % 2 else None))
    assert heard.shape == (channels * step, 2)
    loud = np.abs(heard).reshape(channels, step, 2)[:, 150:-150].max(1)
    assert (loud.max(1) > 0.9 / 64).all()
    assert (loud.max(0) > 0).all()


@pytest.mark.parametrize("channels", [3, 6, 8, 64])
def test_full_scale_in_all_channels_does_not_clip(stage: Stage, channels: int) -> None:
    tone = np.sin(np.arange(32_000) / 16_000 * 2 * np.pi * 440)
    heard, _ = stage.listen(wav(np.stack([tone] * channels, 1)))
    for side in heard.T:
        assert correlation(side, tone) > 0.999
        assert np.abs(side).max() < 1.02


def test_the_speakers_of_the_header_decide_the_side(stage: Stage) -> None:
    tone = sweep(16_000)
    sound = np.stack([np.zeros_like(tone), np.zeros_like(tone), tone], 1)
    for mask, sides in ((0x7, (1, 1)), (0x13, (1, 0)), (0x23, (0, 1))):  # centre, back left, back right
        heard, _ = stage.listen(wav(sound, mask=mask))
        assert [bool(np.abs(side).max() > 0.1) for side in heard.T] == [bool(side) for side in sides]


def test_numbers_that_are_none_and_beyond_full_scale_do_no_harm(stage: Stage) -> None:
    sound = np.concatenate([sweep(16_000), [np.nan, np.inf, -np.inf, 1e30, -7.0]])
    heard, _ = stage.listen(wav(sound, bits=32, coding=FLOAT))
    assert np.isfinite(heard).all()
    assert correlation(heard[:30_000, 0], sweep(16_000)) > 0.99


SOUND = coded(sweep(16_000), 16)
DS64 = chunk(b"ds64", struct.pack("<QQQI", 0, len(SOUND), len(SOUND) // 2, 0))
LONG_DS64 = chunk(b"ds64", struct.pack("<QQQI", 0, len(SOUND) + 200, 0, 0))
PLACEHOLDERS = (0x7FFFF000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFDB, 0xFFFFFF00, 0xFFFFFFFE)
GOOD = {
    "RF64": wav(sweep(16_000), riff=b"RF64", riff_length=2**32 - 1, before=DS64, data_length=2**32 - 1),
    "RF64 with more behind": wav(
        sweep(16_000), riff=b"RF64", before=DS64, data_length=2**32 - 1, after=chunk(b"LIST", bytes(5001))
    ),
    "RIFF length 0": wav(sweep(16_000), riff_length=0),
    "RIFF length too great": wav(sweep(16_000), riff_length=2**32 - 1),
    "RIFF length too small": wav(sweep(16_000), riff_length=50),
    "streamed": wav(sweep(16_000), riff_length=2**32 - 1, data_length=2**32 - 1),
    "RF64 without ds64": wav(sweep(16_000), riff=b"RF64", data_length=2**32 - 1),
    "other chunks around": wav(
        sweep(16_000), before=chunk(b"LIST", b"INFOsecret words"), after=chunk(b"id3 ", b"secret words, too")
    ),
    "odd chunk before": wav(sweep(16_000), before=chunk(b"junk", b"odd")),
    "BW64": wav(sweep(16_000), riff=b"BW64", riff_length=2**32 - 1, before=DS64, data_length=2**32 - 1),
    "length 0 with sound behind": wav(sweep(16_000), riff_length=0, data_length=0),
    **{f"data length {length:#x}": wav(sweep(16_000), data_length=length) for length in PLACEHOLDERS},
    **{f"{more} bytes too long": wav(sweep(16_000), data_length=len(SOUND) + more) for more in (1, 2, 8, 16, 36, 44)},
    "block alignment in bits": wav(sweep(16_000)).replace(b"\2\0\x10\0data", b"\x10\0\x10\0data"),
    "no block alignment": wav(sweep(16_000)).replace(b"\2\0\x10\0data", b"\0\0\x10\0data"),
    "byte rate of stereo": wav(sweep(16_000)).replace(struct.pack("<I", 32_000), struct.pack("<I", 64_000)),
    "24 bits above an empty byte": wav(
        sweep(16_000), bits=24, data=(np.rint(sweep(16_000) * 8_388_607).astype("<i4") << 8).tobytes()
    ).replace(b"\3\0\x18\0data", b"\4\0\x18\0data"),
}


@pytest.mark.parametrize("audio", GOOD.values(), ids=GOOD.keys())
def test_headers_are_read_as_they_are_meant(stage: Stage, audio: bytes) -> None:
    answer = stage.send(audio)
    assert answer.status_code == 201, answer.text
    content = requests.get(answer.json()["url"], timeout=60).content
    check_sound(decoded(content), 16_000, 1)
    assert b"secret" not in content


def small(**options: Any) -> bytes:
    return wav(sweep(16_000, 0.1), **options)


BAD = {
    "nothing": (b"", 422),
    "four bytes": (b"RIFF", 422),
    "four bytes, RF64": (b"RF64", 422),
    "text": (b"hello, this is no sound", 415),
    "an MP3": (b"ID3\x04" + bytes(2000), 415),
    "RIFF, but AVI": (b"RIFF\0\0\0\0AVI " + bytes(100), 415),
    "big-endian": (b"RIFX" + small()[4:], 415),
    "eight bytes": (small()[:8], 422),
    "eleven bytes": (small()[:11], 422),
    "ten bytes, but AVI": (b"RIFF\0\0\0\0AV", 415),
    "RIFF, but WebP": (b"RIFF\0\0\0\0WEBPVP8 " + bytes(100), 415),
    "only the beginning": (small()[:12], 422),
    "half a chunk's name": (small()[:15], 422),
    "half a fmt": (small()[:30], 422),
    "no data": (small()[:36], 422),
    "cut off by more than a header": (small()[:-46], 422),
    "two sounds in a file": (small(after=chunk(b"LIST", bytes(5)) + chunk(b"data", SOUND)), 422),
    "two files in one": (small() * 2, 422),
    "no sound, but notes behind": (small(data=b"", after=chunk(b"LIST", bytes(50))), 422),
    "cut off in the middle": (small()[:1500], 422),
    "RF64 cut off": (wav(sweep(16_000), riff=b"RF64", before=LONG_DS64, data_length=2**32 - 1), 422),
    "RF64 with half a ds64": (small(riff=b"RF64", before=chunk(b"ds64", bytes(8)), data_length=2**32 - 1), 422),
    "no sound": (small(data=b""), 422),
    "no sound, streamed": (small(data=b"", data_length=2**32 - 1), 422),
    "less than a frame": (small(data=b"\1"), 422),
    "data before fmt": (b"RIFF\0\0\0\0WAVE" + chunk(b"data", SOUND), 422),
    "ADPCM": (small(bits=8, coding=ADPCM), 422),
    "MP3 in WAV": (small(bits=8, coding=0x55), 422),
    "float of 16 bits": (small(bits=16, coding=FLOAT, data=bytes(100)), 422),
    "PCM of 64 bits": (small(bits=64, data=bytes(800)), 422),
    "PCM of 0 bits": (small(bits=0, data=bytes(800)), 422),
    "no channel": (b"RIFF\0\0\0\0WAVE" + fmt(8000, 0, 16) + chunk(b"data", SOUND), 422),
    "65 channels": (wav(np.zeros((100, 65))), 422),
    "3,999 Hz": (small(rate=3_999), 422),
    "384,001 Hz": (small(rate=384_001), 422),
    "0 Hz": (small(rate=0), 422),
    "another sub-format": (small(mask=4).replace(b"\xaa\x00\x38", b"\xaa\x00\x39"), 422),
    "a million chunks": (b"RIFF\0\0\0\0WAVE" + chunk(b"junk", b"") * 500_000, 422),
    "too long": (wav((), 8_000, data=bytes(2 * (8_000 * MAX_SECONDS + 1))), 413),
    "too many bytes": (wav((), 192_000, data=bytes(MAX_BYTES)), 413),
    "far too many bytes": (wav((), 192_000, data=bytes(8 * MAX_BYTES)), 413),
}


@pytest.mark.parametrize(("audio", "status"), BAD.values(), ids=BAD.keys())
def test_what_cannot_be_taken_is_refused_and_leaves_nothing(stage: Stage, audio: bytes, status: int) -> None:
    before = stage.left()
    refused = stage.send(audio)
    detail = problem(refused, status)
    if status == 422:
        assert refused.json()["code"] in ("wav_damaged", "wav_not_read", "file_empty"), detail
    if status == 413:
        assert str(MAX_BYTES) in detail or str(MAX_SECONDS) in detail
    assert stage.left() == before
    assert before[1] == []


def test_a_refusal_is_a_sentence_for_people(stage: Stage) -> None:
    detail = problem(stage.send(wav(np.zeros(8_000 * MAX_SECONDS + 4_000), 8_000)), 413)
    assert f"it has {MAX_SECONDS}.5 seconds; at most {MAX_SECONDS} are accepted" in detail
    for name in (b"mt \x10", b"\0\xff`'"):
        detail = problem(stage.send(b"RIFF\0\0\0\0WAVE" + chunk(name, b"", 2**31)), 422)
        assert "a chunk whose name is no text" in detail
    assert stage.send(small()[:1500]).json()["code"] == "wav_damaged"
    assert stage.send(small() * 2).json()["code"] == "wav_not_read"
    assert "its chunk `LIST`" in problem(stage.send(b"RIFF\0\0\0\0WAVE" + chunk(b"LIST", b"", 2**31)), 422)


def test_just_within_the_limit_is_taken(stage: Stage) -> None:
    assert stage.send(wav(np.zeros(8_000 * MAX_SECONDS), 8_000)).status_code == 201


def test_an_unknown_user_and_a_wrong_token_are_told_the_same(stage: Stage) -> None:
    other = stage.client.post("/users", json={"name": "Ada"}).json()
    before = stage.left()
    answers = [
        stage.send(small(), token=str(uuid.uuid4())),
        stage.send(small(), token=other["token"]),
        stage.send(small(), token="ünïcode"),
        stage.send(small(), token=stage.user["token"] + " "),
        stage.send(small(), user=str(uuid.uuid4())),
        stage.send(small(), user="nobody\0"),
        stage.send(b"no sound, but that is not looked at before", user="1"),
        stage.send(b"no sound", user=other["id"]),
    ]
    assert len({problem(answer, 401) for answer in answers}) == 1
    assert all("WWW-Authenticate" in answer.headers for answer in answers)
    assert stage.left() == before


def test_a_wrong_token_before_the_audio_is_refused_before_that_has_come(stage: Stage) -> None:
    fields = {"user": stage.user["id"], "token": str(uuid.uuid4())}
    parts = "".join(f'--b\r\nContent-Disposition: form-data; name="{n}"\r\n\r\n{v}\r\n' for n, v in fields.items())
    audio = '--b\r\nContent-Disposition: form-data; name="audio"; filename="a.wav"\r\n\r\n'
    head = f"POST /records HTTP/1.1\r\nHost: a\r\nContent-Length: {MAX_BYTES}\r\n"
    head += "Content-Type: multipart/form-data; boundary=b\r\n\r\n"
    with socket.create_connection(("127.0.0.1", int(str(stage.service.settings["PORT"]))), 10) as connection:
        connection.sendall((head + parts + audio).encode() + bytes(200_000))
        assert connection.recv(64).startswith(b"HTTP/1.1 401 ")


def test_the_token_is_stored_hashed_only(stage: Stage) -> None:
    stage.send(small())
    database = b"".join(path.read_bytes() for path in stage.service.folder.glob("service.db*"))
    assert stage.user["id"].encode() in database
    assert stage.user["token"].encode() not in database
    assert stage.user["token"] not in stage.service.log.read_text()


@pytest.mark.parametrize("missing", ["user", "token", "audio"])
def test_a_missing_field_is_named(stage: Stage, missing: str) -> None:
    url = f"{stage.service.url}/records"
    form = {"user": stage.user["id"], "token": stage.user["token"]}
    files = {"audio": ("a.wav", small())}
    without = {name: value for name, value in form.items() if name != missing}
    answers = [requests.post(url, data=without, files={} if missing == "audio" else files, timeout=60)]
    if missing == "audio":
        answers.append(requests.post(url, data=form | {"audio": "text"}, timeout=60))
        answers.append(requests.post(url, files={name: (None, value) for name, value in form.items()}, timeout=60))
    else:
        answers.append(stage.send(small(), **{missing: ""}))
    for answer in answers:
        assert f"`{missing}`" in problem(answer, 422)
        assert [error["pointer"] for error in answer.json()["errors"]] == [f"#/{missing}"]


def test_other_forms_are_refused(stage: Stage) -> None:
    url = f"{stage.service.url}/records"
    problem(requests.post(url, timeout=60), 422)
    problem(requests.post(url, json={"user": "1"}, timeout=60), 415)
    problem(requests.post(url, data=small(), headers={"Content-Type": "audio/wav"}, timeout=60), 415)
    problem(requests.post(url, data=b"x", headers={"Content-Type": "multipart/form-data"}, timeout=60), 400)
    problem(stage.send(small(), more="1"), 422)
    problem(stage.send(small(), user=[stage.user["id"], stage.user["id"]]), 422)
    problem(requests.get(url, timeout=60), 405)


@pytest.mark.parametrize("body", [b"{}", b'{"name": ""}', b'{"name": "  "}', b'{"name": 1}', b'{"name": "a", "b": 1}'])
def test_a_user_needs_a_name(stage: Stage, body: bytes) -> None:
    problem(stage.client.post("/users", data=body), 422)


def test_no_cache_keeps_the_answer_with_the_token(stage: Stage) -> None:
    answer = stage.client.post("/users", json={"name": "Ada"})
    assert (answer.status_code, answer.headers["Cache-Control"]) == (201, "no-store")


def test_only_the_one_with_the_password_adds_users(stage: Stage) -> None:
    answer = requests.post(f"{stage.service.url}/users", json={"name": "Eve"}, timeout=60)
    problem(answer, 401)
    assert answer.headers["WWW-Authenticate"].startswith("Basic")
    problem(stage.client.post("/users", data=b"{"), 400)


def test_a_link_that_leads_nowhere_is_404(stage: Stage) -> None:
    recording = stage.send(small()).json()["id"]
    other = stage.client.post("/users", json={"name": "Bob"}).json()["id"]
    queries = [
        {},
        {"id": recording},
        {"user": stage.user["id"]},
        {"id": recording, "user": other},
        {"id": str(uuid.uuid4()), "user": stage.user["id"]},
        {"id": "../../x\0", "user": stage.user["id"]},
        {"id": recording, "user": "'"},
        {"id": stage.user["id"], "user": recording},
    ]
    for query in queries:
        problem(requests.get(f"{stage.service.url}/record", params=query, timeout=60), 404)


def test_many_at_once_all_come_out_right(stage: Stage) -> None:
    with ThreadPoolExecutor(8) as pool:
        heard = list(pool.map(stage.listen, [wav(sweep(rate), rate) for rate in (8_000, 16_000, 44_056, 48_000) * 3]))
    for rate, sound in zip((8_000, 16_000, 44_056, 48_000) * 3, heard, strict=True):
        check_sound(sound, rate, 1)
    assert stage.left()[1] == []


def test_the_link_has_the_host_of_the_request(stage: Stage) -> None:
    form = {"user": stage.user["id"], "token": stage.user["token"]}
    answer = requests.post(
        f"{stage.service.url}/records",
        data=form,
        files={"audio": ("a.wav", small())},
        headers={"Host": "sounds.example:8080"},
        timeout=180,
    )
    assert answer.json()["url"].startswith("http://sounds.example:8080/record?id=")
    before = stage.left()
    for host in ("a b", 'evil"x', "x:99999", ""):
        answer = requests.post(
            f"{stage.service.url}/records",
            data=form,
            files={"audio": ("a.wav", small())},
            headers={"Host": host},
            timeout=180,
        )
        assert "Host" in problem(answer, 400)
    assert stage.left() == before


def test_the_link_begins_with_the_public_address_and_the_bit_rate_varies_where_set(
    make_service: MakeService, tmp_path: Path
) -> None:
    service = make_service(PUBLIC_URL="https://media.example.com/", MP3_QUALITY=2, WEB_CONCURRENCY=1)
    stage = made_stage(service, tmp_path)
    recording = stage.send(wav(sweep(44_100), 44_100)).json()
    assert recording["url"].startswith(f"https://media.example.com/record?id={recording['id']}&user=")
    content = stage.client.get("/record", params={"id": recording["id"], "user": stage.user["id"]}).content
    check_sound(decoded(content), 44_100, 1)
    assert b"Xing" in content[:200]
    quiet = stage.send(wav(np.zeros(88_200), 44_100)).json()
    query = {"id": quiet["id"], "user": stage.user["id"]}
    assert len(stage.client.get("/record", params=query).content) < len(content) * 0.8

    orphan = service.files / "recordings" / stage.user["id"] / str(uuid.uuid4())
    orphan.write_bytes(b"what a crash has left")
    service.stop()
    client = service.start()
    wait_for(lambda: not orphan.exists(), what="the removal of the orphan")
    assert client.get("/record", params=query).status_code == 200


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"MP3_BITRATE": "128", "MP3_QUALITY": "2"}, "both"),
        ({"MP3_BITRATE": "129"}, "MP3_BITRATE"),
        ({"MP3_QUALITY": "10"}, "MP3_QUALITY"),
        ({"PUBLIC_URL": "media.example.com"}, "PUBLIC_URL"),
        ({"MAX_AUDIO_SECONDS": "0"}, "MAX_AUDIO_SECONDS"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, str], word: str) -> None:
    with pytest.raises(BadSettings, match=word):
        Settings.from_env({"API_PASSWORD": "long enough", **settings})


@pytest.mark.parametrize("bitrate", mp3.BITRATES)
def test_every_bit_rate_of_the_settings_can_be_encoded(bitrate: int) -> None:
    assert Settings.from_env({"API_PASSWORD": "long enough", "MP3_BITRATE": str(bitrate)}).mp3_bitrate == bitrate
    for rate in (8_000, 16_000, 48_000):
        file = io.BytesIO()
        encoder = mp3.Encoder(file, rate, 2, bitrate, None)
        encoder.write(np.zeros((5_000, 2), np.float32))
        encoder.close()
        assert len(decoded(file.getvalue())[0]) == 5_000


def test_a_store_without_the_row_loses_the_file_again(tmp_path: Path) -> None:
    settings = Settings(
        api_password="secret", database_url=f"sqlite:///{tmp_path}/none.db", storage_url=f"{tmp_path}/files"
    )
    app = create_app(settings)
    (tmp_path / "files").mkdir()
    with pytest.raises(Exception, match="no such table"):
        operations.add_recording(provided(Services, app), str(uuid.uuid4()), io.BytesIO(small()))
    provided(Database, app).close()
    assert [path for path in (tmp_path / "files").rglob("*") if path.is_file()] == []


def test_a_large_file_before_its_credentials_is_refused_and_a_small_one_taken(client: Client) -> None:
    sound = wav(np.zeros(1600))
    user = client.post("/users", json={"name": "Ada"}).json()
    credentials = [("user", (None, user["id"])), ("token", (None, user["token"]))]

    def send(audio: bytes, *, first: bool) -> requests.Response:
        file = [("audio", ("a.wav", audio))]
        parts = [*credentials, *file] if first else [*file, *credentials]
        return requests.post(f"{client.url}/records", files=parts, timeout=60)

    assert send(sound, first=False).status_code == 201
    large = sound + bytes(1_100_000)
    refused = send(large, first=False)
    assert refused.status_code == 413
    assert (refused.json()["code"], refused.json()["limit"]) == ("credentials_first", 1_000_000)
    assert send(large, first=True).status_code in (201, 422)
