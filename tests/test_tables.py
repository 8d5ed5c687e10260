"""A task's faces and photos as CSV."""

import csv
import hashlib
import io
from urllib.parse import quote

from devtools.facecloud_emulator.faces import derived
from devtools.facecloud_emulator.server import EmulatorServer
from tests.support import Client, photo

TASKS = "/api/v1/tasks"
FACES = derived(hashlib.sha256(b"any").hexdigest())

NAMES_OF_CELLS = {
    "=1.jpg": "'=1.jpg",
    "a;=1.jpg": "a;'=1.jpg",
    "a,+1.jpg": "a,'+1.jpg",
    "a;\u200b@b.jpg": "a;'\u200b@b.jpg",
    "\uff1d1.jpg": "'\uff1d1.jpg",
    "a; \u00a0-1.jpg": "a;' \u00a0-1.jpg",
    'a;"=1.jpg': "a;'\"=1.jpg",
    "a-b=c.jpg": "a-b=c.jpg",
}


def test_tables_are_harmless_whatever_separates_cells(client: Client) -> None:
    parts = [("image", (quote(name, safe=""), photo(1))) for name in NAMES_OF_CELLS]
    names = [("name", (None, name.encode())) for name in NAMES_OF_CELLS]
    task = client.task()
    added = client.post(f"{TASKS}/{task}/images", files=[*parts, *names])
    assert [image["name"] for image in added.json()["items"]] == list(NAMES_OF_CELLS)
    client.start(task)
    client.ended(task)
    for table in ("faces.csv", "photos.csv"):
        text = client.get(f"{TASKS}/{task}/{table}").content.decode()
        rows = list(csv.DictReader(io.StringIO(text, newline="")))
        assert list(dict.fromkeys(row["name"] for row in rows)) == list(NAMES_OF_CELLS.values()), table


def test_photos_without_faces_and_failed_ones_differ_in_their_table(
    client: Client, shared_emulator: EmulatorServer
) -> None:
    shared_emulator.emulator.faces_of = {
        hashlib.sha256(photo(1)).hexdigest(): [],
        hashlib.sha256(photo(2)).hexdigest(): FACES,
    }
    task = client.run(photo(1), photo(2))
    answer = client.get(f"{TASKS}/{task['id']}/photos.csv", params={"bom": "1"})
    assert answer.content.startswith(b"\xef\xbb\xbfid,name,status,faces,error_code,error_detail,digest\r\n")
    rows = list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"), newline="")))
    assert [(row["name"], row["status"], row["error_code"]) for row in rows] == [
        ("0.jpg", "done", ""),
        ("1.jpg", "done", ""),
    ]
    assert [row["faces"] for row in rows] == ["0", str(len(FACES))]
    assert rows[0]["digest"] == f"sha-256:{hashlib.sha256(photo(1)).hexdigest()}"
    faces = client.get(f"{TASKS}/{task['id']}/faces.csv", params={"bom": "1"})
    assert faces.content.startswith(b"\xef\xbb\xbfimage_id,")
    forming = client.task(photo(3))
    (row,) = csv.DictReader(io.StringIO(client.get(f"{TASKS}/{forming}/photos.csv").text))
    assert (row["status"], row["faces"]) == ("pending", "")
