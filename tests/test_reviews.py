"""Reviews of random samples, and the estimates that come of them, over HTTP."""

import hashlib
from typing import Any

import pytest

from tests.conftest import on_both_databases
from tests.support import Client, photo

TASKS = "/api/v1/tasks"
PHOTOS = 40
BOX = {"x": 1, "y": 1, "width": 9, "height": 9}

pytestmark = on_both_databases


@pytest.fixture
def task(client: Client) -> dict[str, Any]:
    return client.run(*(photo(number) for number in range(PHOTOS)))


def reviews_of(task: dict[str, Any]) -> str:
    return f"{TASKS}/{task['id']}/reviews"


def drawn(client: Client, task: dict[str, Any], photos: int, **members: Any) -> dict[str, Any]:
    answer = client.post(reviews_of(task), json={"photos": photos, **members})
    assert answer.status_code == 201, answer.text
    review: dict[str, Any] = answer.json()
    return review


def test_a_review_is_a_random_sample_that_its_seed_draws_again(client: Client, task: dict[str, Any]) -> None:
    review = drawn(client, task, 10, seed=7)
    ids = [image["id"] for image in task["images"]]
    assert review["images"] == sorted(ids, key=lambda one: hashlib.sha256(f"7:{one}".encode()).digest())[:10]
    assert (review["seed"], review["photos"], review["reviewed"], review["reviewed_images"]) == (7, 10, 0, [])
    assert drawn(client, task, 10, seed=7)["images"] == review["images"]
    other = drawn(client, task, 2000)
    assert other["photos"] == PHOTOS
    assert sorted(other["images"]) == sorted(ids)
    assert client.get(f"{reviews_of(task)}/{review['id']}").json() == review
    listed = client.get(reviews_of(task), params={"limit": 2}).json()
    assert listed["items"][0]["id"] == other["id"]
    assert "images" not in listed["items"][0]
    rest = client.get(reviews_of(task), params={"cursor": listed["next"]}).json()
    assert ([item["id"] for item in rest["items"]], rest["next"]) == ([review["id"]], None)
    assert client.delete(f"{reviews_of(task)}/{review['id']}").status_code == 204
    assert client.delete(f"{reviews_of(task)}/{review['id']}").json()["code"] == "review_not_found"


def test_a_review_is_drawn_once_however_often_the_request_comes(client: Client, task: dict[str, Any]) -> None:
    key = {"Idempotency-Key": f"drawn {task['id']}"}
    answers = [client.post(reviews_of(task), json={"photos": 5}, headers=key) for _ in range(2)]
    assert answers[0].json() == answers[1].json()
    assert len(client.get(reviews_of(task)).json()["items"]) == 1


def test_only_marked_photos_are_reviewed_and_that_can_be_taken_back(client: Client, task: dict[str, Any]) -> None:
    review = drawn(client, task, 3)
    place = f"{reviews_of(task)}/{review['id']}/images"
    first, second, _ = review["images"]
    marked = client.put(f"{place}/{first}")
    assert marked.status_code == 204
    image = client.get(f"{TASKS}/{task['id']}/images/{first}")
    assert marked.headers["ETag"] == image.headers["ETag"]
    stale = client.put(f"{place}/{second}", headers={"If-Match": image.headers["ETag"]})
    assert (stale.status_code, stale.json()["code"]) == (412, "image_changed")
    client.put(f"{place}/{second}")
    shown = client.get(f"{reviews_of(task)}/{review['id']}").json()
    assert (shown["reviewed"], shown["reviewed_images"]) == (2, [first, second])
    assert client.delete(f"{place}/{first}").status_code == 204
    assert client.get(f"{reviews_of(task)}/{review['id']}").json()["reviewed_images"] == [second]
    outside = next(image["id"] for image in task["images"] if image["id"] not in review["images"])
    assert client.put(f"{place}/{outside}").json()["code"] == "image_not_in_review"
    assert client.put(f"{reviews_of(task)}/{task['id']}/images/{first}").json()["code"] == "review_not_found"


def test_there_is_nothing_to_review_before_photos_are_done(client: Client) -> None:
    forming = client.task(photo(1))
    answer = client.post(f"{TASKS}/{forming}/reviews", json={"photos": 1})
    assert (answer.status_code, answer.json()["code"]) == (409, "no_photos_done")
    unknown = f"{TASKS}/{'0' * 8}-0000-0000-0000-000000000000/reviews"
    assert client.get(unknown).json()["code"] == "task_not_found"
    assert client.post(unknown, json={"photos": 1}).json()["code"] == "task_not_found"


@pytest.mark.parametrize(
    "said", [{}, {"photos": 0}, {"photos": 2001}, {"photos": 1, "seed": 1.5}, {"photos": 1, "a": 1}]
)
def test_a_drawing_that_cannot_be_is_refused(client: Client, task: dict[str, Any], said: dict[str, Any]) -> None:
    assert client.post(reviews_of(task), json=said).status_code == 422


def test_estimates_follow_what_a_person_found_and_say_what_the_engine_did(client: Client, task: dict[str, Any]) -> None:
    review = drawn(client, task, 2000)
    place = f"{reviews_of(task)}/{review['id']}"
    for number, image in enumerate(review["images"][:30]):
        if number == 29:
            few = client.get(f"{place}/estimates").json()
            assert (few["reviewed"], few["faces"], few["women_share"]) == (29, None, None)
        client.put(f"{place}/images/{image}")
    right = client.get(f"{place}/estimates").json()
    statistics = task["statistics"]
    known = statistics["men"] + statistics["women"]
    for name, value in (
        ("faces", statistics["faces"]),
        ("women_share", statistics["women"] / known),
        ("men_average_age", statistics["men_average_age"]),
        ("women_average_age", statistics["women_average_age"]),
    ):
        assert right[name]["uncorrected"] == pytest.approx(value)
        assert right[name]["value"] == pytest.approx(value), name  # the engine erred nowhere
        assert right[name]["low"] <= right[name]["value"] <= right[name]["high"]
        alone = right[name]["sample_only"]
        assert alone["high"] - alone["low"] >= right[name]["high"] - right[name]["low"]

    images = {image["id"]: image for image in task["images"]}
    for image in review["images"]:
        for face in images[image]["faces"]:
            place_of_face = f"{TASKS}/{task['id']}/images/{image}/faces/{face['number']}"
            client.patch(place_of_face, json={"age": face["age"] + 5})
        client.put(f"{place}/images/{image}")
    first = f"{TASKS}/{task['id']}/images/{review['images'][0]}/faces"
    client.post(first, json={"bbox": BOX, "gender": "unknown", "age": None})
    found = client.get(f"{place}/estimates", params={"confidence": "0.9"}).json()
    assert (found["confidence"], found["photos"], found["reviewed"]) == (0.9, PHOTOS, PHOTOS)
    assert found["men_average_age"]["value"] == pytest.approx(statistics["men_average_age"] + 5)
    assert found["men_average_age"]["uncorrected"] == pytest.approx(statistics["men_average_age"])
    assert found["faces"]["value"] == pytest.approx(statistics["faces"] + 1)
    assert found["faces"]["uncorrected"] == statistics["faces"]


@pytest.mark.parametrize("confidence", ["0", "1", "nan", "much", "1e999"])
def test_a_confidence_that_cannot_be_is_refused(client: Client, task: dict[str, Any], confidence: str) -> None:
    place = f"{reviews_of(task)}/{drawn(client, task, 1)['id']}/estimates"
    answer = client.get(place, params={"confidence": confidence})
    assert (answer.status_code, answer.json()["errors"][0]["parameter"]) == (422, "confidence")
