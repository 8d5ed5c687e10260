"""What a person corrects: it counts at once and everywhere, stands beside the engine's answer, and is never lost."""

import csv
import io
import json
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import hypothesis
import hypothesis.strategies as st
import pytest
import requests

from devtools.facecloud_emulator.server import EmulatorServer
from tests.conftest import MakeService, facecloud, on_both_databases
from tests.support import Client, Service, faces_of, inconsistencies, photo

TASKS = "/api/v1/tasks"
UNCOMPRESSED = {"Accept-Encoding": "identity"}
BOX = {"x": 10, "y": 5, "width": 20, "height": 30}

pytestmark = on_both_databases


def with_faces(first: int = 0) -> bytes:
    """Return a photo in which the emulator finds faces."""
    return next(image for number in range(first, first + 100) if len(faces_of(image := photo(number))) > 1)


@pytest.fixture
def task(client: Client) -> dict[str, Any]:
    return client.run(with_faces(), with_faces(50), photo(900))


def place_of(task: dict[str, Any], image: int = 0) -> str:
    return f"{TASKS}/{task['id']}/images/{task['images'][image]['id']}"


def recount(task: dict[str, Any]) -> dict[str, Any]:
    """Return the statistics that the faces shown add up to."""
    faces = [face for image in task["images"] for face in image["faces"]]
    counted: dict[str, Any] = {"faces": len(faces)}
    for name, gender in (("men", "male"), ("women", "female")):
        ages = [face["age"] for face in faces if face["gender"] == gender and face["age"] is not None]
        counted[name] = sum(face["gender"] == gender for face in faces)
        counted[f"{name}_average_age"] = pytest.approx(sum(ages) / len(ages), abs=1e-6) if ages else None
    counted["unknown"] = counted["faces"] - counted["men"] - counted["women"]
    return counted


def assert_counted(task: dict[str, Any]) -> None:
    assert {name: value for name, value in task["statistics"].items() if name != "warnings"} == recount(task)


def test_a_correction_counts_everywhere_and_the_engines_answer_stays_beside_it(
    client: Client, task: dict[str, Any]
) -> None:
    face = task["images"][0]["faces"][0]
    before = client.get(f"{place_of(task)}/content?faces=boxed")
    said = {"gender": "female" if face["gender"] == "male" else "male", "age": 71.5, "bbox": BOX}
    answer = client.patch(f"{place_of(task)}/faces/1", json=said)
    assert answer.status_code == 200, answer.text
    corrected = answer.json()
    assert {name: corrected[name] for name in said} == said
    assert corrected["corrected"] is True
    assert corrected["score"] == face["score"]
    assert (corrected["male_probability"], corrected["age_low"], corrected["quality"]) == (None, None, None)
    engines_own = {name: value for name, value in face.items() if name not in ("number", "corrected", "detected")}
    assert corrected["detected"] == engines_own

    shown = client.show(task["id"])
    assert shown["images"][0]["faces"][0] == corrected
    assert_counted(shown)
    rows = list(csv.DictReader(io.StringIO(client.get(f"{TASKS}/{task['id']}/faces.csv").text, newline="")))
    assert (rows[0]["gender"], rows[0]["age"], rows[0]["x"], rows[0]["corrected"]) == (
        said["gender"],
        "71.5",
        "10",
        "true",
    )
    assert rows[1]["corrected"] == "false"
    line = json.loads(client.get(f"{TASKS}/{task['id']}/faces.jsonl").text.splitlines()[0])
    assert line["detected"] == engines_own
    after = client.get(f"{place_of(task)}/content?faces=boxed", headers={"If-None-Match": before.headers["ETag"]})
    assert after.status_code == 200
    assert after.content != before.content

    again = client.patch(f"{place_of(task)}/faces/1", json={"age": None}).json()
    assert (again["age"], again["gender"], again["detected"]) == (None, said["gender"], engines_own)
    undone = client.delete(f"{place_of(task)}/faces/1/correction")
    assert (undone.status_code, undone.json()) == (200, face)
    assert client.show(task["id"])["images"] == task["images"]
    assert client.show(task["id"])["statistics"] == task["statistics"]


def test_what_is_no_face_leaves_statistics_exports_and_pictures_and_can_come_back(
    client: Client, task: dict[str, Any]
) -> None:
    faces = task["images"][0]["faces"]
    rejected = client.patch(f"{place_of(task)}/faces/1", json={"is_face": False}).json()
    shown = client.show(task["id"])
    assert [face["number"] for face in shown["images"][0]["faces"]] == [face["number"] for face in faces[1:]]
    assert shown["images"][0]["rejected_faces"] == [rejected]
    assert shown["statistics"]["faces"] == task["statistics"]["faces"] - 1
    assert_counted(shown)
    assert len(client.get(f"{TASKS}/{task['id']}/faces.csv").text.splitlines()) == task["statistics"]["faces"]
    photos = list(csv.DictReader(io.StringIO(client.get(f"{TASKS}/{task['id']}/photos.csv").text, newline="")))
    assert photos[0]["faces"] == str(len(faces) - 1)
    assert client.patch(f"{place_of(task)}/faces/1", json={"is_face": True}).json()["corrected"] is True
    assert client.show(task["id"])["statistics"] == task["statistics"]


def test_an_added_face_gets_a_number_that_is_never_used_again(client: Client, task: dict[str, Any]) -> None:
    faces = f"{place_of(task)}/faces"
    many = len(task["images"][0]["faces"])
    said = {"bbox": BOX, "gender": "female", "age": 31}
    added = client.post(faces, json=said)
    assert added.status_code == 201, added.text
    assert added.json() == {
        "number": many + 1,
        **said,
        **dict.fromkeys(("male_probability", "age_low", "age_high", "score", "quality", "detected")),
        "corrected": True,
    }
    assert_counted(client.show(task["id"]))
    refused = client.delete(f"{faces}/{many + 1}/correction")
    assert (refused.status_code, refused.json()["code"]) == (409, "face_not_detected")
    refused = client.delete(f"{faces}/1")
    assert (refused.status_code, refused.json()["code"]) == (409, "face_was_detected")
    assert client.delete(f"{faces}/{many + 1}").status_code == 204
    assert client.delete(f"{faces}/{many + 1}").status_code == 404
    assert client.show(task["id"])["statistics"] == task["statistics"]
    assert client.post(faces, json=said).json()["number"] == many + 2


def test_a_face_is_added_once_however_often_the_request_comes(client: Client, task: dict[str, Any]) -> None:
    said = {"bbox": BOX, "gender": "unknown", "age": None}
    key = {"Idempotency-Key": f"added {task['id']}"}
    answers = [client.post(f"{place_of(task)}/faces", json=said, headers=key) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[0].json() == answers[1].json()
    assert answers[0].headers["ETag"] == answers[1].headers["ETag"]
    assert len(client.show(task["id"])["images"][0]["faces"]) == len(task["images"][0]["faces"]) + 1


def test_every_change_has_another_tag_and_another_version_of_the_task(client: Client, task: dict[str, Any]) -> None:
    image = client.get(place_of(task), headers=UNCOMPRESSED)
    tags, versions = (
        [image.headers["ETag"]],
        [client.get(f"{TASKS}/{task['id']}", headers=UNCOMPRESSED).headers["ETag"]],
    )
    faces = f"{place_of(task)}/faces"
    added = len(task["images"][0]["faces"]) + 1
    for method, path, said in (
        ("PATCH", "/1", {"age": 3}),
        ("POST", "", {"bbox": BOX, "gender": "male", "age": 9}),
        ("DELETE", f"/{added}", None),
        ("PATCH", "/2", {"is_face": False}),
        ("DELETE", "/1/correction", None),
    ):
        answer = client.request(method, faces + path, json=said)
        assert answer.ok, answer.text
        tags.append(answer.headers["ETag"])
        assert client.get(place_of(task), headers=UNCOMPRESSED).headers["ETag"] == tags[-1]
        versions.append(client.get(f"{TASKS}/{task['id']}", headers=UNCOMPRESSED).headers["ETag"])
    assert len(set(versions)) == 6
    since = int(versions[0].strip('"').rpartition(".")[2])
    changed = client.get(f"{TASKS}/{task['id']}", params={"since": since}).json()
    assert [image["id"] for image in changed["images"]] == [task["images"][0]["id"]]
    assert all(tag != before for before, tag in pairwise(tags))
    assert tags[3] == tags[1]  # a face was added and removed: the image is as it was
    assert client.get(place_of(task), headers={"If-None-Match": tags[-1]}).status_code == 304
    nothing = client.patch(f"{faces}/1", json={})
    assert (nothing.status_code, nothing.headers["ETag"]) == (200, tags[-1])
    assert client.get(f"{TASKS}/{task['id']}", headers=UNCOMPRESSED).headers["ETag"] == versions[-1]


def test_two_people_at_once_lose_no_edit(client: Client, task: dict[str, Any], shared_service: Service) -> None:
    tag = client.get(place_of(task)).headers["ETag"]

    def say(age: int) -> requests.Response:
        path, stale = f"{place_of(task)}/faces/1", {"If-Match": tag}
        return shared_service.client().patch(path, json={"age": age}, headers=stale)

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(say, range(4)))
    assert sorted(answer.status_code for answer in answers) == [200, 412, 412, 412]
    (won,) = (answer for answer in answers if answer.ok)
    assert next(answer for answer in answers if not answer.ok).json()["code"] == "image_changed"
    assert client.show(task["id"])["images"][0]["faces"][0] == won.json()
    for matching in ('"other", ' + won.headers["ETag"], "*"):
        said = client.patch(
            f"{place_of(task)}/faces/1", json=won.json() and {"age": won.json()["age"]}, headers={"If-Match": matching}
        )
        assert said.status_code == 200, said.text
    weak = {"If-Match": f"W/{won.headers['ETag']}"}
    assert client.delete(f"{place_of(task)}/faces/1/correction", headers=weak).status_code == 412
    for number, name in enumerate(("age", "gender")):  # without it, each changes what it names
        client.patch(f"{place_of(task)}/faces/2", json={name: (44, "female")[number]})
    face = client.show(task["id"])["images"][0]["faces"][1]
    assert (face["age"], face["gender"]) == (44, "female")


@pytest.mark.parametrize(
    ("said", "pointer"),
    [
        ({"gender": None}, "#/gender"),
        ({"gender": "woman"}, "#/gender"),
        ({"age": -1}, "#/age"),
        ({"age": "31"}, "#/age"),
        ({"bbox": None}, "#/bbox"),
        ({"bbox": BOX | {"width": 0}}, "#/bbox/width"),
        ({"bbox": BOX | {"x": 64}}, "#/bbox"),
        ({"bbox": BOX | {"y": -30}}, "#/bbox"),
        ({"is_face": "no"}, "#/is_face"),
        ({"score": 1.0}, "#/score"),
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(
    client: Client, task: dict[str, Any], said: dict[str, Any], pointer: str
) -> None:
    answer = client.patch(f"{place_of(task)}/faces/1", json=said)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, pointer)
    assert client.show(task["id"]) == task


def test_what_is_not_there_or_not_done_cannot_be_corrected(client: Client, task: dict[str, Any]) -> None:
    assert client.patch(f"{place_of(task)}/faces/99", json={"age": 3}).json()["code"] == "face_not_found"
    assert client.patch(f"{place_of(task)}/faces/one", json={"age": 3}).status_code == 404
    other = client.task(photo(1))
    elsewhere = f"{TASKS}/{other}/images/{task['images'][0]['id']}/faces"
    assert client.patch(f"{elsewhere}/1", json={"age": 3}).json()["code"] == "image_not_found"
    waiting = f"{TASKS}/{other}/images/{client.show(other)['images'][0]['id']}/faces"
    for answer in (
        client.patch(f"{waiting}/1", json={"age": 3}),
        client.post(waiting, json={"bbox": BOX, "gender": "male", "age": 3}),
        client.delete(f"{waiting}/1"),
        client.delete(f"{waiting}/1/correction"),
    ):
        assert (answer.status_code, answer.json()["code"]) == (409, "image_not_done")


def test_another_start_overwrites_nothing_that_a_person_said(
    make_service: MakeService, emulator: EmulatorServer
) -> None:
    service = make_service(**facecloud(emulator))
    client = service.start()
    task = client.task(with_faces(), photo(7))
    broken = client.show(task)["images"][1]["id"]
    content = service.files / "tasks" / task / broken
    there = content.read_bytes()
    content.write_bytes(there[:40])
    client.start(task)
    ended = client.ended(task)
    assert ended["status"] == "error"
    place = place_of(ended)
    client.patch(f"{place}/faces/1", json={"age": 99})
    client.post(f"{place}/faces", json={"bbox": BOX, "gender": "female", "age": 1})
    client.patch(f"{place}/faces/2", json={"is_face": False})
    said = client.get(place).json()
    content.write_bytes(there)
    client.start(task)
    ended = client.ended(task)
    assert ended["status"] == "completed"
    assert client.get(place).json() == said
    assert_counted(ended)
    assert inconsistencies(service.folder, service.settings["DATABASE_URL"]) == []


ages = st.none() | st.floats(0, 130).map(lambda age: round(age, 3))
genders = st.sampled_from(["male", "female", "unknown"])
numbers = st.integers(1, 6)
edits = st.one_of(
    st.tuples(
        st.just("PATCH"),
        numbers,
        st.fixed_dictionaries({}, optional={"age": ages, "gender": genders, "is_face": st.booleans()}),
    ),
    st.tuples(
        st.just("POST"), st.just(0), st.fixed_dictionaries({"bbox": st.just(BOX), "age": ages, "gender": genders})
    ),
    st.tuples(st.just("DELETE"), numbers, st.none()),
    st.tuples(st.just("UNDO"), numbers, st.none()),
)


@pytest.fixture(scope="module")
def edited(shared_service: Service) -> tuple[Client, str]:
    client = shared_service.client()
    return client, client.run(with_faces(), with_faces(50))["id"]


@hypothesis.settings(max_examples=20, deadline=None, derandomize=True)
@hypothesis.given(sequence=st.lists(st.tuples(st.integers(0, 1), edits), max_size=12))
def test_after_any_sequence_of_edits_the_statistics_equal_a_recount(
    edited: tuple[Client, str], sequence: list[tuple[int, tuple[str, int, Any]]]
) -> None:
    client, task = edited
    places = [place_of(client.show(task), image) for image in (0, 1)]
    for image, (method, number, said) in sequence:
        path = f"{places[image]}/faces" + (f"/{number}" if number else "") + ("/correction" if method == "UNDO" else "")
        answer = client.request("DELETE" if method == "UNDO" else method, path, json=said)
        assert answer.status_code in (200, 201, 204, 404, 409), answer.text
    shown = client.show(task)
    assert_counted(shown)
    for image in shown["images"]:
        every = image["faces"] + image["rejected_faces"]
        assert len({face["number"] for face in every}) == len(every)
        assert all(face["corrected"] for face in image["rejected_faces"])


def test_the_doctor_counts_as_corrections_do(edited: tuple[Client, str], shared_service: Service) -> None:
    assert inconsistencies(shared_service.folder, shared_service.settings["DATABASE_URL"]) == []
