"""Hostile input over HTTP: damaged files and bombs by every way in, odd forms, JSON and headers.

`MUTATIONS` files are made from a seed that is printed; each has a number, so that one can be made again by itself.
"""

import base64
import contextlib
import io
import json
import os
import random
import re
import shutil
import socket
import struct
import threading
import uuid
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import requests
from PIL import Image, ImageCms

from devtools.facecloud_emulator.server import EmulatorServer
from service.http import security
from tests.conftest import facecloud
from tests.support import Client, Service, files_below, photo, wait_for
from tests.test_heif import written
from tests.test_media import BOMBS, animated_webp, corners, encoded
from tests.test_tasks import problem

MUTATIONS = int(os.environ.get("MUTATIONS", "300"))
SEED = int(os.environ.get("SEED", "20261121"))
CLIENTS = 4
TASKS = "/api/v1/tasks"
REFUSED = {413, 415, 422}
TAKEN = {201, 202}
LONG = pytest.mark.timeout(120 + MUTATIONS)


@pytest.fixture(scope="module")
def service(
    tmp_path_factory: pytest.TempPathFactory, migrated: Path, shared_emulator: EmulatorServer
) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("hostile")
    shutil.copy(migrated, folder / "service.db")
    service = Service(folder, **facecloud(shared_emulator, WORKERS=4))
    service.start()
    yield service
    service.kill()


@pytest.fixture
def client(service: Service) -> Iterator[Client]:
    """Give a client, and see that the same processes live on after the test, and not as giants."""
    pids = service.workers()
    yield service.client()
    assert service.workers() == pids
    for pid in pids:
        assert peak(pid) < 500, "MB"


def peak(pid: int) -> float:
    """Return the most memory that a process has had, in MB."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found
    return int(found[1]) / 1024


# --- the ways in -------------------------------------------------------------------------------------------------


def bare(client: Client, data: bytes) -> requests.Response:
    return client.post(f"{TASKS}/{client.task()}/images?name=a", data=data, headers={"Content-Type": "image/png"})


def form(client: Client, data: bytes) -> requests.Response:
    return client.post(f"{TASKS}/{client.task()}/images", files={"image": ("a.jpg", data)})


def whole_task(client: Client, data: bytes) -> requests.Response:
    return client.post(TASKS, data={"start": "true"}, files={"image": ("a.webp", data)})


def processing(client: Client, data: bytes) -> requests.Response:
    return client.post("/api/files/", files={"file": ("a.jpg", data)})


def augmentation(client: Client, data: bytes) -> requests.Response:
    """Upload as a user of augmentation, which takes JPEG and PNG and makes copies at once."""
    if "token" not in client.headers:
        account = {"email": f"{uuid.uuid4()}@example.com", "password": "long enough"}
        client.headers["token"] = client.post("/registration", json=account).json()["access_token"]
    headers = {"Authorization": f"Bearer {client.headers['token']}"}
    # A session's own credentials would go before the header.
    return requests.post(f"{client.url}/upload", files={"files": ("a.png", data)}, headers=headers, timeout=60)


def renditions(client: Client, data: bytes) -> requests.Response:
    return client.post("/images", data={"user_id": "1"}, files={"image": ("a.webp", data)})


WAYS: dict[str, Callable[[Client, bytes], requests.Response]] = {
    "bare bytes": bare,
    "a form": form,
    "a whole task": whole_task,
    "processing": processing,
    "augmentation": augmentation,
    "renditions": renditions,
}


# --- damaged files -----------------------------------------------------------------------------------------------


def originals() -> list[bytes]:
    """Return one small file of each sort that decoders read in their own way."""
    exif = Image.Exif()
    exif[0x0112] = 6
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    rgb = corners(40, 30)
    sorts: list[tuple[Image.Image, str, dict[str, Any]]] = [
        (rgb, "JPEG", {}),
        (rgb, "JPEG", {"progressive": True, "exif": exif, "comment": b"a"}),
        (rgb, "JPEG", {"restart_marker_blocks": 1, "subsampling": 0, "icc_profile": profile}),
        (rgb.convert("CMYK"), "JPEG", {}),
        (rgb.convert("L"), "JPEG", {"optimize": True}),
        (rgb, "PNG", {"exif": exif, "icc_profile": profile}),
        (rgb.quantize(16), "PNG", {"transparency": 1}),
        (rgb.convert("L").convert("I;16"), "PNG", {}),
        (rgb.convert("RGBA"), "PNG", {}),
        (rgb.convert("1"), "PNG", {}),
        (rgb, "WEBP", {"exif": exif, "icc_profile": profile}),
        (rgb, "WEBP", {"lossless": True}),
        (rgb.convert("RGBA"), "WEBP", {"quality": 20}),
    ]
    frames = {"save_all": True, "append_images": [rgb, rgb]}
    sorts += [(rgb, "PNG", frames), (rgb.rotate(90), "WEBP", frames)]
    sorts += [(rgb, "AVIF", {"exif": exif}), (rgb.convert("RGBA"), "AVIF", {})]
    heic = [written("HEIC", rgb), written("HEIC", rgb.convert("RGBA"))]
    return [encoded(picture, kind, **options) for picture, kind, options in sorts] + [animated_webp(3), *heic]


ODD = [0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]


def mutated(files: list[bytes], number: int) -> bytes:
    """Damage one of the files in one to four ways; the same for the same number."""
    chance = random.Random(f"{SEED} {number}")
    data = bytearray(files[number % len(files)])
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        # Heads are small and have all the meaning, so half of the faults are there.
        at = chance.randrange(min(len(data), chance.choice((64, 200, 1 << 30))) or 1)
        kind = chance.randrange(8)
        if kind == 0:
            data[at : at + 1] = bytes([data[at] ^ 1 << chance.randrange(8)]) if data else b"x"
        elif kind == 1:
            data[at : at + 4] = chance.choice(ODD).to_bytes(4, chance.choice(("big", "little")))
        elif kind == 2:
            data[at : at + 2] = (chance.choice(ODD) & 0xFFFF).to_bytes(2, chance.choice(("big", "little")))
        elif kind == 3:
            del data[at:]
        elif kind == 4:
            del data[at : at + chance.randrange(1, 40)]
        elif kind == 5:
            data[at:at] = data[at : at + chance.randrange(1, 200)] * chance.choice((1, 2, 50))
        elif kind == 6:
            data[at : at + chance.randrange(1, 20)] = chance.randbytes(chance.randrange(1, 20))
        else:
            other = chance.choice(files)
            data[at:] = other[chance.randrange(len(other)) :]
    return with_checksums(bytes(data)) if chance.random() < 0.8 else bytes(data)


def with_checksums(data: bytes) -> bytes:
    """Make a PNG's checksums right again, or no fault behind them would ever be reached."""
    if not data.startswith(b"\x89PNG\r\n\x1a\n"):
        return data
    fixed, at = bytearray(data), 8
    while at + 12 <= len(fixed):
        (length,) = struct.unpack_from(">I", fixed, at)
        if at + 12 + length > len(fixed):
            break
        struct.pack_into(">I", fixed, at + 8 + length, zlib.crc32(fixed[at + 4 : at + 8 + length]))
        at += 12 + length
    return bytes(fixed)


def spread(service: Service, work: Callable[[Client, int], Any], count: int) -> list[Any]:
    """Do the work for each number, by several clients at once."""
    own = threading.local()

    def one(number: int) -> Any:
        if not hasattr(own, "client"):
            own.client = service.client()
        return work(own.client, number)

    with ThreadPoolExecutor(CLIENTS) as pool:
        return list(pool.map(one, range(count)))


@LONG
def test_damaged_images_are_refused_or_taken_and_what_is_taken_can_be_worked_on(
    service: Service, client: Client
) -> None:
    print(f"SEED={SEED} MUTATIONS={MUTATIONS}")
    files, ways = originals(), list(WAYS.items())
    survivors: list[int] = []

    def send(own: Client, number: int) -> int:
        # First over, then by each way in turn, so that each sort of file comes by each way.
        name, way = ways[(number // len(files)) % len(ways)]
        answer = way(own, mutated(files, number))
        assert answer.status_code in REFUSED | TAKEN, f"number {number} by {name}: {answer.text}"
        if answer.status_code in TAKEN:
            survivors.append(number)
        else:
            problem(answer, answer.status_code)
        return answer.status_code

    counted = Counter(spread(service, send, MUTATIONS))
    print(dict(counted))
    assert counted[422] > MUTATIONS / 10
    assert len(survivors) > MUTATIONS / 50

    # Decoders run again where photos are worked on, drawn and packed.
    chosen = sorted(survivors)[: max(60, MUTATIONS // 20)]
    for begin in range(0, len(chosen), 100):
        numbers = chosen[begin : begin + 100]
        task = client.task(*(mutated(files, number) for number in numbers))
        assert client.start(task).status_code == 202
        shown = client.ended(task, 120)
        for number, image in zip(numbers, shown["images"], strict=True):
            assert image["status"] == "done" or image["error"]["code"] == "image_rejected", f"number {number}: {image}"

        def draw(own: Client, at: int, task: str = task, shown: dict[str, Any] = shown) -> int:
            path = f"{TASKS}/{task}/images/{shown['images'][at]['id']}/content?faces=boxed"
            return own.get(path).status_code

        codes = spread(service, draw, len(numbers))
        assert set(codes) <= {200, 422}, [number for number, code in zip(numbers, codes, strict=True) if code >= 500]
        if set(codes) == {200}:
            packed = zipfile.ZipFile(io.BytesIO(client.get(f"{TASKS}/{task}/boxed.zip").content))
            assert len(packed.namelist()) == len(numbers)
        assert client.delete(f"{TASKS}/{task}").status_code == 204


@pytest.mark.parametrize("way", WAYS)
def test_a_jpeg_that_lacks_pixels_is_refused_by_every_way(client: Client, way: str) -> None:
    whole = [encoded(corners(200, 150), progressive=progressive) for progressive in (False, True)]
    cut = [data[: len(data) * kept // 100] + b"\xff\xd9" for data in whole for kept in (10, 50, 90, 99)]
    size = struct.pack(">HH", 150, 200)
    for data in [*cut, *(data.replace(size, struct.pack(">HH", 1500, 2000)) for data in whole)]:
        assert "is damaged or cut off" in problem(WAYS[way](client, data), 422)


@cache
def bomb(name: str) -> bytes:
    """Return a bomb; to make one takes longer than to refuse it."""
    return BOMBS[name]()


@pytest.mark.parametrize("way", WAYS)
def test_bombs_are_refused_by_every_way_and_take_no_memory(service: Service, client: Client, way: str) -> None:
    for name in BOMBS:
        data = bomb(name)
        before = {pid: peak(pid) for pid in service.workers()}
        answer = WAYS[way](client, data)
        assert answer.status_code in REFUSED, f"{name} by {way}: {answer.text}"
        for pid in service.workers():
            # 50 MB for the check, and what a request of its size takes by itself.
            assert peak(pid) - before[pid] < 50 + 2 * len(data) / 1e6, f"{name} by {way}"


# --- damaged recordings ------------------------------------------------------------------------------------------


def waves() -> list[bytes]:
    """Return short sounds of the sorts that are taken."""

    def wave(coding: int, bits: int, channels: int, rate: int, big: bool = False) -> bytes:
        block = channels * bits // 8
        head = struct.pack("<HHIIHH", coding, channels, rate, rate * block, block, bits)
        data = random.Random(bits).randbytes(rate // 50 * block)
        extra = b"fact" + struct.pack("<II", 4, rate // 50) if coding != 1 else b""
        chunks = b"fmt " + struct.pack("<I", len(head)) + head + extra + b"data" + struct.pack("<I", len(data)) + data
        if big:
            sizes = struct.pack("<QQQI", len(chunks) + 40, len(data), rate // 50, 0)
            chunks = b"ds64" + struct.pack("<I", len(sizes)) + sizes + chunks
        return (b"RF64" if big else b"RIFF") + struct.pack("<I", len(chunks) + 4) + b"WAVE" + chunks

    kinds = [(1, 8, 1, 8000), (1, 16, 2, 44100), (1, 24, 1, 48000), (1, 32, 6, 22050), (3, 32, 2, 16000)]
    return [wave(*kind) for kind in [*kinds, (3, 64, 1, 96000), (6, 8, 1, 8000), (7, 8, 2, 8000)]] + [
        wave(1, 16, 1, 8000, big=True)
    ]


@LONG
def test_damaged_recordings_are_refused_or_taken(service: Service, client: Client) -> None:
    files = waves()
    user = client.post("/users", json={"name": "Ada"}).json()
    fields = {"user": user["id"], "token": user["token"]}

    def send(own: Client, number: int) -> int:
        # The first numbers are the files themselves, which shows that they are right.
        data = files[number] if number < len(files) else mutated(files, number)
        answer = own.post("/records", data=fields, files={"audio": ("a.wav", data)})
        assert answer.status_code in REFUSED | {201}, f"number {number}: {answer.text}"
        return answer.status_code

    codes = spread(service, send, max(60, MUTATIONS // 4))
    assert set(codes[: len(files)]) == {201}
    assert codes.count(422) > len(codes) / 10


# --- file names and forms ----------------------------------------------------------------------------------------

NAMES = {
    "path": "../../../etc/passwd",
    "windows path": "..\\..\\C:\\boot.ini",
    "absolute": "/etc/passwd",
    "NUL": "a\0b.jpg",
    "10,000 characters": "a" * 10_000 + ".jpg",
    "right to left": "photo\u202egpj.exe",
    "newlines": "a\r\nSet-Cookie: a=b\r\n\r\nb.jpg",
    "surrogates": "\ud800.jpg",
    "quotes": 'a"; filename="b.jpg',
    "nothing": "",
    "dots": "..",
    "device": "CON.jpg",
    "formula": "=cmd|'/c calc'!A1.jpg",
    "markup": "<script>alert(1)</script>.jpg",
}


@pytest.mark.parametrize("kind", NAMES)
def test_a_file_name_is_a_label_and_nothing_else(service: Service, client: Client, kind: str) -> None:
    name, task = NAMES[kind], client.task()
    raw = name.encode("utf-8", "surrogatepass")
    quoted = raw.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
    part = b'--x\r\nContent-Disposition: form-data; name="image"; filename="' + quoted + b'"\r\n\r\n' + photo(1)
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    texts = b'\r\n--x\r\nContent-Disposition: form-data; name="name"\r\n\r\n' + raw
    for body in (part + b"\r\n--x--\r\n", part + texts + b"\r\n--x--\r\n"):
        answer = client.post(f"{TASKS}/{task}/images", data=body, headers=headers)
        # With an empty line in its name the part begins earlier, and its bytes are no photo.
        assert answer.status_code in {201, 400, 413, 422} | ({415} if kind == "newlines" else set()), answer.text
        if answer.status_code != 201:
            problem(answer, answer.status_code)
    answer = client.post(
        f"{TASKS}/{task}/images", params={"name": raw}, data=photo(2), headers={"Content-Type": "image/jpeg"}
    )
    assert answer.status_code in {201, 414, 422}
    for image in client.show(task)["images"]:
        assert 1 <= len(image["name"]) <= 255
        assert not re.search(r"[\x00-\x1f\u202a-\u202e\ud800-\udfff]", image["name"])
    packed = client.get(f"{TASKS}/{task}/boxed.zip")
    assert packed.status_code == 200
    for entry in zipfile.ZipFile(io.BytesIO(packed.content)).namelist():
        assert "/" not in entry
        assert "\\" not in entry
        assert entry.strip(".")
    folder = service.files / "tasks"
    stored = [part for path in files_below(folder) for part in path.relative_to(folder).parts]
    assert [path for path in stored if not re.fullmatch(r"[0-9a-f-]{36}(\.[a-z]+)?", path)] == []
    assert client.delete(f"{TASKS}/{task}").status_code == 204


def parts(count: int, size: tuple[int, int] = (8, 8)) -> list[tuple[str, tuple[str, bytes]]]:
    return [("image", (f"{number}.jpg", photo(number, size))) for number in range(count)]


def test_a_form_of_a_thousand_parts_is_taken_and_one_of_too_many_is_refused(client: Client) -> None:
    task = client.task()
    answer = client.post(f"{TASKS}/{task}/images", files=parts(1000))
    assert answer.status_code == 201
    assert len(answer.json()["items"]) == 1000
    problem(client.post(f"{TASKS}/{task}/images", files=[("image", ("a", b"x"))] * 2001), 413)
    problem(client.post(f"{TASKS}/{task}/images", data=[("name", "a")] * 2001, files=parts(1)), 413)
    assert client.delete(f"{TASKS}/{task}").status_code == 204


FORM = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n%s\r\n--x--\r\n' % photo(1)
MULTIPART = "multipart/form-data; boundary=x"
FORMS: dict[str, tuple[str, bytes]] = {
    "no boundary": ("multipart/form-data", FORM),
    "an empty boundary": ('multipart/form-data; boundary=""', FORM),
    "another boundary": ("multipart/form-data; boundary=y", FORM),
    "a boundary of 10,000 characters": (f"multipart/form-data; boundary={'x' * 6000}", FORM),
    "cut off": (MULTIPART, FORM[:-20]),
    "cut off in a head": (MULTIPART, FORM[:30]),
    "nothing": (MULTIPART, b""),
    "only its end": (MULTIPART, b"--x--\r\n"),
    "no disposition": (MULTIPART, b"--x\r\nA: b\r\n\r\nc\r\n--x--\r\n"),
    "a part without a name": (MULTIPART, b"--x\r\nContent-Disposition: form-data\r\n\r\nc\r\n--x--\r\n"),
    "an unknown part": (MULTIPART, FORM.replace(b'"image"', b'"other"')),
    "a head without end": (MULTIPART, b"--x\r\n" + b"A: b\r\n" * 100_000),
    "a form in a form": (
        MULTIPART,
        FORM.replace(b"\r\n\r\n", b"\r\nContent-Type: multipart/mixed; boundary=z\r\n\r\n", 1),
    ),
    "in base64": (MULTIPART, FORM.replace(b"\r\n\r\n", b"\r\nContent-Transfer-Encoding: base64\r\n\r\n", 1)),
    "an unknown charset": ("multipart/form-data; boundary=x; charset=nonsense", FORM),
    "texts that are no UTF-8": (
        MULTIPART,
        b'--x\r\nContent-Disposition: form-data; name="name"\r\n\r\n\xff\xfe\r\n--x--\r\n',
    ),
    "two megabytes of text": (
        MULTIPART,
        b'--x\r\nContent-Disposition: form-data; name="name"\r\n\r\n' + b"a" * 2_000_000,
    ),
    "a simple form": ("application/x-www-form-urlencoded", b"image=a&name=%FF%00"),
    "no type": ("", FORM),
    "a type of nonsense": (';;;=\xff"', FORM),
}


@pytest.mark.parametrize("kind", FORMS)
def test_a_broken_form_is_the_clients_fault(service: Service, client: Client, kind: str) -> None:
    media_type, body = FORMS[kind]
    task = client.task()
    for path in (f"{TASKS}/{task}/images", TASKS, "/records"):
        answer = client.post(path, data=body, headers={"Content-Type": media_type.encode("latin-1")})
        assert answer.status_code in {201, 400, 413, 415, 422}, f"{path}: {answer.text}"
        if answer.status_code != 201:
            problem(answer, answer.status_code)


# --- JSON --------------------------------------------------------------------------------------------------------

NAMED = b'{"name": %s}'
JSONS: dict[str, tuple[bytes, set[int]]] = {
    "an array": (b"[]", {422}),
    "null": (b"null", {422}),
    "a number": (b"1", {422}),
    "a text": (b'"a"', {422}),
    "an array for a text": (NAMED % b'["a"]', {422}),
    "an object for a text": (NAMED % b'{"a": 1}', {422}),
    "a number for a text": (NAMED % b"1", {422}),
    "a huge number": (NAMED % (b"9" * 5000), {400, 422}),
    "1e999": (NAMED % b"1e999", {400, 422}),
    "NaN": (NAMED % b"NaN", {400}),
    "Infinity": (NAMED % b"-Infinity", {400}),
    "depth 1,000": (NAMED % (b"[" * 1000 + b"]" * 1000), {400, 422}),
    "depth 100,000": (NAMED % (b"[" * 100_000 + b"]" * 100_000), {400, 422}),
    "objects of depth 1,000": (b'{"name":' * 1000 + b"1" + b"}" * 1000, {400, 422}),
    "a lone surrogate": (NAMED % b'"\\ud800"', {400, 422}),
    "NUL": (NAMED % b'"a\\u0000b"', {422}),
    "a control character": (NAMED % b'"a\nb"', {400}),
    "no UTF-8": (NAMED % b'"\xff"', {400}),
    "UTF-16": ('{"name": "a"}'.encode("utf-16"), {400}),
    "a byte order mark": (b"\xef\xbb\xbf" + NAMED % b"1", {422}),
    "cut off": (b'{"name": "a', {400}),
    "a comma too many": (b'{"name": "a",}', {400}),
    "two values": (b"{}{}", {400}),
    "spaces": (b" \n ", {400}),
    "an unknown member": (b'{"naem": "a"}', {422}),
    "a member without a name": (b'{"": "a"}', {422}),
    "a member of 100,000 characters": (b'{"%s": "a"}' % (b"a" * 100_000), {422}),
    "10,000 members": (json.dumps(dict.fromkeys(map(str, range(10_000)))).encode(), {422}),
    "a megabyte and more": (NAMED % (b'"' + b"a" * 1_100_000 + b'"'), {413}),
    "a prototype": (b'{"__proto__": {}, "constructor": {}}', {422}),
}


IS_READ = ("a number for a text", "a byte order mark")
"""With `questions_num` for `name` these are right: a number is wanted there."""


@pytest.mark.parametrize("kind", JSONS)
def test_json_of_any_kind_is_no_fault_of_the_service(client: Client, kind: str) -> None:
    text, expected = JSONS[kind]
    for headers in ({}, {"Idempotency-Key": f"json {kind}"}):
        answer = client.post(TASKS, data=text, headers={"Content-Type": "application/json", **headers})
        assert answer.status_code in expected, answer.text
        assert len(problem(answer, answer.status_code)) < 2000
        assert len(answer.content) < 500_000
        for path in ("/users", "/questions"):
            answer = client.post(path, data=text.replace(b'"name"', b'"questions_num"'), headers=headers)
            assert 400 <= answer.status_code < 500 or kind in IS_READ, answer.text


@pytest.mark.parametrize(
    "text", [b'{"name": "a", "name": "b"}', b'{"n\\u0061me": "a", "name": "a"}', b'[{"a": 1, "a": 2}]']
)
def test_a_member_that_comes_twice_is_refused(client: Client, text: bytes) -> None:
    answer = client.post(TASKS, data=text, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert answer.json()["code"] == "repeated_member"
    assert "more than once" in answer.json()["detail"]


@pytest.mark.parametrize("hosts", [0, 1, 2])
def test_http_1_1_has_one_host(service: Service, hosts: int) -> None:
    lines = ["GET /healthz HTTP/1.1", *(["Host: a"] * hosts), "Connection: close", "", ""]
    status, answer = spoken(service, "\r\n".join(lines).encode())
    assert status == (200 if hosts == 1 else 400), answer
    assert hosts or "`Host` is missing" in check_problem(answer)["detail"]


def test_http_1_0_needs_no_host(service: Service) -> None:
    _, answer = spoken(service, b"GET /healthz HTTP/1.0\r\n\r\n")
    assert re.match(rb"HTTP/1\.[01] 200 ", answer)


def test_a_location_is_a_path(client: Client) -> None:
    answer = client.get("/", allow_redirects=False)
    assert (answer.status_code, answer.headers["Location"]) == (302, "/tasks")
    made = client.post(TASKS, json={}, headers={"Host": "other.example.com"})
    assert made.headers["Location"] == f"{TASKS}/{made.json()['id']}"


# --- queries and headers -----------------------------------------------------------------------------------------

QUERIES = [
    "limit=",
    "limit=x",
    "limit=1e3",
    "limit=-1",
    "limit=٣",
    "limit=" + "9" * 3000,
    "limit=1&limit=1",
]
QUERIES += ["cursor=x", "cursor=%00", "cursor=" + "a" * 3000, "cursor=WyJhIl0.x", "status=FORMING", "status=%FF", "a=b"]
QUERIES += ["limit=5&%00=1", "limit=%ED%A0%80", "=", "status", "limit[]=1"]


@pytest.mark.parametrize("query", QUERIES)
def test_an_odd_query_is_422(client: Client, query: str) -> None:
    problem(client.get(f"{TASKS}?{query}"), 422)


@pytest.mark.parametrize("task", ["%00", "%FF", "%2e%2e%2f", "a" * 1000, "'; DROP TABLE task; --", "%0d%0aA:b"])
def test_an_odd_path_is_404(client: Client, task: str) -> None:
    for path in (f"{TASKS}/{task}", f"{TASKS}/{task}/images/{task}/content", f"/files/{task}/{task}", f"/docs/{task}"):
        answer = client.get(path, allow_redirects=False)
        assert answer.status_code in {404, 405, 308}, f"{path}: {answer.text}"
    problem(client.get(f"/record?id={task}&user={task}"), 404)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(
            ("Range", value)
            for value in ("bytes=", "bytes=9-1", "bytes=-", "lines=1-2", "bytes=0-0,5-5", "bytes=99999999999-")
        ),
        *(("Range", value) for value in ("bytes=0-" + "9" * 4000, "bytes=" + "0-0," * 1000, "bytes=a-b", "\xff")),
        *(("If-None-Match", value) for value in ("x", '"', '"a', 'W/"', "*", ",,,", '"a",' * 1000, "\xff")),
        *(("If-Range", value) for value in ("x", '"', "Mon, 99 Nov 9999 99:99:99 GMT")),
        *(("If-Modified-Since", value) for value in ("x", "Mon, 99 Nov 9999 99:99:99 GMT")),
        *(("X-Request-Id", value) for value in ("a" * 5000, "\xff", "a b; c", "%0d%0a")),
        *(("Accept", value) for value in ("x", "*/*;q=x", "a/b;q=9999999999999999999999", "\xff")),
        *(("Accept-Encoding", value) for value in ("x;q=nan", "\xff")),
        *(("Cookie", value) for value in ("=", "a" * 5000, "\xff", "session=%00")),
        *(("Host", value) for value in ("a b", "[::1", "x:99999", "\xff", "a@b")),
        *(("Forwarded", value) for value in ('for="', "\xff")),
        *(
            ("Authorization", value)
            for value in ("Basic", "Basic =", "Basic " + "A" * 6000, "Bearer a.b.c", "\xff", 'Digest a="')
        ),
        *(("Content-Type", value) for value in ("\xff", 'a/b; c="', ";")),
        *(("Content-Encoding", value) for value in ("gzip", "x")),
        *(("Content-Length", value) for value in ("0", "+0", "0x0")),
        *(("Idempotency-Key", value) for value in ("\xff", "a" * 5000, '"')),
    ],
)
def test_an_odd_header_is_never_a_fault_of_the_service(service: Service, client: Client, name: str, value: str) -> None:
    task = client.task(photo(1))
    image = client.show(task)["images"][0]["id"]
    for method, path in (
        ("GET", f"{TASKS}/{task}"),
        ("GET", f"{TASKS}/{task}/images/{image}/content"),
        ("POST", TASKS),
    ):
        authorization = [] if name == "Authorization" else [f"Authorization: {basic(service)}"]
        host = [] if name == "Host" else ["Host: a"]
        lines = [f"{method} {path} HTTP/1.1", *host, *authorization, f"{name}: {value}", "Connection: close", "", ""]
        status = spoken(service, "\r\n".join(lines).encode("latin-1"))[0]
        assert status < 500, f"{method} {path}"
        assert status >= 200


def basic(service: Service) -> str:
    return "Basic " + base64.b64encode(f"admin:{service.password}".encode()).decode()


def spoken(service: Service, request: bytes, *, shut: bool = False) -> tuple[int, bytes]:
    """Send bytes as they are, and return the status and all that came until the end."""
    with socket.create_connection(("127.0.0.1", int(str(service.settings["PORT"]))), timeout=60) as sock:
        with contextlib.suppress(ConnectionError):
            sock.sendall(request)
        if shut:
            sock.shutdown(socket.SHUT_WR)
        answer = b""
        with contextlib.suppress(ConnectionError):
            while data := sock.recv(65536):
                answer += data
    found = re.match(rb"HTTP/1\.1 (\d{3}) ", answer)
    return (int(found[1]) if found else 0), answer


CHUNKED = "Transfer-Encoding: chunked"
JSON = "Content-Type: application/json"
BODIES: dict[str, tuple[list[str], bytes, set[int]]] = {
    "chunked": ([JSON, CHUNKED], b"d\r\n" + NAMED % b'"a"'[:3] + b"\r\n0\r\n\r\n", {201}),
    "chunks of nonsense": ([JSON, CHUNKED], b"zz\r\n{}\r\n0\r\n\r\n", {400}),
    "a chunk of a negative size": ([JSON, CHUNKED], b"-1\r\n{}\r\n0\r\n\r\n", {400}),
    "a chunk of 2^64 bytes": ([JSON, CHUNKED], b"ffffffffffffffff\r\n{}", {0, 400, 413}),
    "chunks cut off": ([JSON, CHUNKED], b"5\r\n{}", {0, 400}),
    "a chunk extension of 100 KB": ([JSON, CHUNKED], b"2;" + b"a" * 100_000 + b"\r\n{}\r\n0\r\n\r\n", {0, 400}),
    "two lengths": ([JSON, "Content-Length: 2", "Content-Length: 3"], b"{}", {400}),
    "a length and chunks": ([JSON, "Content-Length: 2", CHUNKED], b"2\r\n{}\r\n0\r\n\r\n", {400}),
    "a length of nonsense": ([JSON, "Content-Length: x"], b"{}", {400}),
    "a negative length": ([JSON, "Content-Length: -2"], b"{}", {400}),
    "a length of 10^18": ([JSON, f"Content-Length: {10**18}"], b"{}", {413}),
    "a length of 10^4000": ([JSON, f"Content-Length: 1{'0' * 4000}"], b"{}", {400, 413}),
    "more than its length": ([JSON, "Content-Length: 2"], b"{}{}", {201}),
    "less than its length": ([JSON, "Content-Length: 20"], b"{}", {400}),
    "nothing of its length": ([JSON, "Content-Length: 20"], b"", {400}),
    "an expectation": ([JSON, "Content-Length: 2", "Expect: 100-continue"], b"{}", {100}),
    "an unknown expectation": ([JSON, "Content-Length: 2", "Expect: a miracle"], b"{}", {417}),
    "an unknown coding": ([JSON, "Transfer-Encoding: gzip"], b"{}", {400, 501}),
    "100 KB of headers": ([JSON, *(f"X-{number}: {'a' * 5000}" for number in range(20))], b"", {201}),
    "a header of 100 KB": ([JSON, f"X-Long: {'a' * 100_000}"], b"", {400, 431}),
    "2,000 headers": ([JSON, *(f"X-{number}: a" for number in range(2000))], b"", {400, 431}),
    "a header without a name": ([": a"], b"", {400}),
    "a header with a space": (["A B: c"], b"", {400}),
    "a folded header": (["A: b", " c"], b"", {400}),
    "NUL in a header": (["A: \0"], b"", {400}),
}


@pytest.mark.parametrize("kind", BODIES)
def test_a_request_that_is_framed_in_an_odd_way_is_answered_in_order(
    service: Service, client: Client, kind: str
) -> None:
    headers, body, expected = BODIES[kind]
    lines = [f"POST {TASKS} HTTP/1.1", "Host: a", f"Authorization: {basic(service)}", "Connection: close", *headers]
    status, answer = spoken(service, "\r\n".join([*lines, "", ""]).encode() + body, shut=True)
    assert status in expected, answer[:300]
    if status >= 400:
        check_problem(answer)


def check_problem(answer: bytes) -> dict[str, Any]:
    """Return the problem in an answer as it came over the wire, which has what every answer has."""
    head, _, body = answer.partition(b"\r\n\r\n")
    headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
    assert headers["Content-Type"] == "application/problem+json"
    assert int(headers["Content-Length"]) == len(body)
    assert re.fullmatch(r"[0-9a-f]{16}", headers["X-Request-Id"])
    assert headers["Content-Security-Policy"] == security.CONTENT
    assert security.HEADERS.items() <= headers.items()
    found: dict[str, Any] = json.loads(body)
    return found


@pytest.mark.parametrize(
    ("line", "headers", "status", "limit", "told"),
    [
        (f"GET /{'a' * 5000} HTTP/1.1", [], 414, 4094, "request line is too long"),
        ("GET / HTTP/1.1", [f"X-Long: {'a' * 9000}"], 431, 8190, "A header is too long"),
        ("GET / HTTP/1.1", [f"X-{number}: a" for number in range(101)], 431, 100, "too many headers"),
        ("GET / HTTP/9.9", [], 400, None, "request line cannot be read"),
        ("GET", [], 400, None, "request line cannot be read"),
        ("GET / HTTP/1.1", ["secret word: a"], 400, None, "A header cannot be read"),
        ("GET / HTTP/1.1", ["Content-Length: 1", "Content-Length: 2"], 400, None, "only one may come"),
        ("GET / HTTP/1.1", ["Transfer-Encoding: secret"], 501, None, "only transfer coding"),
        ("GET / HTTP/1.1", ["Expect: secret"], 417, None, "only expectation"),
    ],
)
def test_a_request_that_cannot_be_read_is_told_why_with_the_limit_that_it_passed(
    service: Service, line: str, headers: list[str], status: int, limit: int | None, told: str
) -> None:
    found, answer = spoken(service, "\r\n".join([line, *headers, "Host: a", "", ""]).encode(), shut=True)
    given = check_problem(answer)
    assert (found, given["status"], given.get("limit")) == (status, status, limit)
    assert told in given["detail"]
    assert limit is None or str(limit) in given["detail"]
    assert b"secret" not in answer
    request_id = re.search(rb"X-Request-Id: (\w+)", answer)
    assert request_id
    wait_for(lambda: f"request_id={request_id[1].decode()}" in service.log.read_text(), 5, "its line in the log")


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\0",
        b"GET",
        b"GET /",
        b"GET / HTTP/9.9",
        b"get / HTTP/1.1",
        b"G" * 10_000,
        b"GET " + b"/" * 10_000 + b" HTTP/1.1",
    ],
)
def test_a_request_line_of_nonsense_is_answered_or_the_connection_ends(
    service: Service, client: Client, line: bytes
) -> None:
    status, _ = spoken(service, line + b"\r\nHost: a\r\n\r\n", shut=True)
    assert status == 0 or 300 <= status < 500 or status == 505
    assert spoken(service, b"\x16\x03\x01\x02\0\x01\0\x01\xfc" + bytes(500), shut=True)[0] in (0, 400)
    wait_for(lambda: client.get("/healthz").status_code == 200)
