import base64
import hashlib
import io
import json
import re
import secrets
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import requests
from PIL import Image

from devtools.facecloud_emulator.app import Emulator
from devtools.facecloud_emulator.faces import derived, without_exif
from devtools.facecloud_emulator.faults import Mood, Script
from devtools.facecloud_emulator.server import EmulatorServer
from service.features.faces.engines.engine import Detection, Detections

EMAIL = f"{secrets.token_hex(6)}@example.com"
PASSWORD = secrets.token_hex(12)
FACE = Detection(x=1, y=2, width=30, height=40, gender="male", age=20.0, score=0.9123456789)


def picture(size=(64, 48), form="JPEG", **options):
    written = io.BytesIO()
    Image.new("RGB", size, (90, 120, 200)).save(written, form, **options)
    return written.getvalue()


@pytest.fixture
def emulator():
    emulator = Emulator(email=EMAIL, password=PASSWORD)
    emulator.faces = [FACE]
    return emulator


@pytest.fixture
def server(emulator):
    with EmulatorServer(emulator) as server:
        yield server


@pytest.fixture
def http(server):
    """Return a session whose paths are the emulator's."""

    class Client(requests.Session):
        def request(self, method, url, **options):
            return super().request(method, server.url + url, timeout=10, **options)

        def login(self, email=EMAIL, password=PASSWORD):
            return self.post("/api/v1/login", json={"email": email, "password": password})

        def detect(self, image=None, query="?demographics=true"):
            return self.post(f"/api/v1/detect{query}", data=picture() if image is None else image)

    with Client() as client:
        token = client.login().json()["data"]["access_token"]
        client.headers["Authorization"] = f"Bearer {token}"
        yield client


# The protocol


def test_the_token_is_a_jwt_without_an_expiry(http):
    token = http.login().json()["data"]["access_token"]
    header, claims, _ = (part + "=" * (-len(part) % 4) for part in token.split("."))
    assert json.loads(base64.urlsafe_b64decode(header))["alg"] == "HS256"
    assert set(json.loads(base64.urlsafe_b64decode(claims))) == {"iat", "nbf", "jti", "sub", "fresh", "type"}


def test_a_wrong_account_is_401_and_a_malformed_one_400(http):
    assert http.login(password=secrets.token_hex(4)).status_code == 401
    assert http.login(email="nobody@example.com").status_code == 401
    assert http.login(email=None).status_code == 400
    assert http.post("/api/v1/login", data=b"{").json() == {"message": "The body is not JSON", "status_code": 400}


def test_without_a_password_every_account_is_let_in():
    with EmulatorServer() as server:
        body = {"email": "any@example.com", "password": secrets.token_hex(4)}
        assert requests.post(f"{server.url}/api/v1/login", json=body, timeout=10).status_code == 200


def test_who_signs_up_can_log_in(http):
    account = {"billing_type": "demo", "email": "new@example.com", "password": secrets.token_hex(4)}
    answer = http.post("/api/v1/users", json=account)
    assert (answer.status_code, answer.json()["data"]["email"]) == (201, "new@example.com")
    assert http.login(account["email"], account["password"]).status_code == 200
    assert http.post("/api/v1/users", json=account).status_code == 400


def test_a_face_has_the_blocks_that_were_asked_for_and_no_others(http):
    bare = {"bbox": {"height": 40, "width": 30, "x": 1, "y": 2}, "score": 0.912346}
    full = {"demographics": {"ethnicity": "caucasian", "gender": "male", "age": {"mean": 20.0, "variance": 51.0}}}
    assert http.detect(query="").json() == {"data": [bare], "status_code": 200}
    for yes in ("true", "True", "1"):
        assert http.detect(query=f"?demographics={yes}&unknown=1").json()["data"] == [bare | full]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("fd_min_size=30", 1),
        ("fd_min_size=31", 0),
        ("fd_max_size=0", 1),
        ("fd_max_size=29", 0),
        ("fd_threshold=0.95", 0),
        ("fd_threshold=0.9", 1),
    ],
)
def test_the_options_of_the_detector_are_honoured(http, query, found):
    assert len(http.detect(query=f"?{query}").json()["data"]) == found


@pytest.mark.parametrize(
    "query", ["fd_min_size=big", "fd_max_size=1.5", "fd_threshold=high", "face=1,2,3", "face=a,b,c,d", "face=1,2,0,4"]
)
def test_an_option_that_cannot_be_read_is_400(http, query):
    assert http.detect(query=f"?{query}").status_code == 400


@pytest.mark.parametrize("block", ["attributes", "landmarks", "liveness", "masks", "quality"])
def test_each_block_is_added_where_it_is_asked_for(http, block):
    [face] = http.detect(query=f"?{block}=true").json()["data"]
    assert set(face) == {"bbox", "score", block}


def test_the_blocks_have_facecloud_s_form(http):
    [face] = http.detect(query="?attributes=1&landmarks=True&liveness=true&masks=1&quality=1").json()["data"]
    assert set(face["attributes"]) == {"facial_hair", "glasses", "hair_color", "hair_type", "headwear"}
    assert all(isinstance(text, str) for text in face["attributes"].values())
    assert len(face["landmarks"]) == 29
    assert all(1 <= point["x"] <= 31 and 2 <= point["y"] <= 42 for point in face["landmarks"])
    assert {type(point[side]) for point in face["landmarks"] for side in "xy"} == {int}
    assert 0 <= face["liveness"] <= 1
    assert set(face["masks"]) == {"full_face_mask", "lower_face_mask", "no_mask", "other_mask"}
    assert set(face["quality"]) == {"blurriness", "overexposure", "underexposure"}


def test_ages_are_whole_and_their_variance_is_that_of_the_range(http, emulator):
    emulator.faces = [replace(FACE, age=27.6, age_low=19, age_high=35), replace(FACE, age=30.4)]
    ages = [face["demographics"]["age"] for face in http.detect().json()["data"]]
    assert ages == [{"mean": 28.0, "variance": 23.7}, {"mean": 30.0, "variance": 51.0}]


def test_a_given_box_is_the_face_and_has_no_score(http, emulator):
    emulator.faces = [FACE, replace(FACE, x=100, gender="female", age=40.0)]
    [face] = http.detect(query="?demographics=true&face=95,0,30,50").json()["data"]
    assert (face["bbox"], face["score"]) == ({"x": 95, "y": 0, "width": 30, "height": 50}, None)
    assert (face["demographics"]["gender"], face["demographics"]["age"]["mean"]) == ("female", 40.0)
    [face] = http.detect(query="?demographics=true&face=500,500,9,9&fd_min_size=100").json()["data"]
    assert face["demographics"] == {"ethnicity": "caucasian", "gender": "unknown"}


def test_a_chunked_body_is_read(http):
    image = picture()
    answer = http.detect(image=iter([image[:100], image[100:101], image[101:]]))
    assert (answer.status_code, len(answer.json()["data"])) == (200, 1)
    assert http.detect().status_code == 200


def test_a_transfer_coding_that_is_not_read_is_501(http):
    headers = {"Transfer-Encoding": "gzip, chunked"}
    assert http.post("/api/v1/detect", data=iter([b"x"]), headers=headers).status_code == 501


@pytest.mark.parametrize(
    "image", [b"", b"hello", picture(form="PNG"), b"\xff\xd8\xff\xe0 nothing", picture()[:200]], ids=range(5)
)
def test_what_is_no_whole_jpeg_is_400(http, image):
    answer = http.detect(image)
    assert (answer.status_code, answer.json()["status_code"]) == (400, 400)


def test_an_image_over_the_limit_is_413(http, emulator):
    emulator.max_bytes = 100
    assert http.detect().status_code == 413


def test_a_missing_wrong_or_revoked_token_is_401(http, emulator):
    assert http.post("/api/v1/detect", data=picture(), headers={"Authorization": None}).status_code == 401
    assert http.post("/api/v1/detect", data=picture(), headers={"Authorization": "Bearer x"}).status_code == 401
    assert http.detect().status_code == 200
    emulator.revoke()
    assert http.detect().status_code == 401


def test_the_specification_needs_no_token(http):
    document = http.get("/api/v1/openapi.json", headers={"Authorization": None}).json()
    assert "/api/v1/detect" in document["paths"]


def test_other_paths_and_methods_are_refused_in_the_same_envelope(http):
    assert http.get("/api/v1/match").json() == {"message": "Not Found", "status_code": 404}
    assert http.get("/api/v1/detect").json() == {"message": "Method Not Allowed", "status_code": 405}


# Where faces come from


def test_faces_given_for_an_image_come_before_those_for_all(http, emulator):
    image = picture((20, 20))
    emulator.faces_of[hashlib.sha256(image).hexdigest()] = []
    assert http.detect(image).json()["data"] == []
    assert len(http.detect().json()["data"]) == 1


def test_made_up_faces_depend_on_the_image_alone():
    numbers = {len(derived(hashlib.sha256(bytes([index])).hexdigest())) for index in range(50)}
    assert numbers == {0, 1, 2, 3}
    sha256 = hashlib.sha256(b"1").hexdigest()
    assert derived(sha256) == derived(sha256)


def test_an_engine_sees_the_pixels_as_stored():
    class Engine:
        def detect(self, image, *_):
            with Image.open(io.BytesIO(image)) as seen:
                assert not seen.getexif()
                return [Detection(0, 0, *seen.size, "unknown", None, None)]

        def limit(self):
            return None

        def close(self):
            pass

    exif = Image.Exif()
    exif[0x0112] = 6
    image = picture(exif=exif)
    assert without_exif(image) != image
    with EmulatorServer(Emulator(Engine())) as server:
        answer = detected(server, image, "")
    assert answer["data"] == [{"bbox": {"height": 48, "width": 64, "x": 0, "y": 0}, "score": None}]


class UprightOnly:
    """An engine that sees one face: where the picture is red at its top left. `turns` is what it says of turning."""

    turns = None

    def detect(self, image, *_):
        with Image.open(io.BytesIO(image)) as seen:
            red, green, _ = seen.convert("RGB").getpixel((5, 5))
            is_upright = red > 200 and green < 100
            return Detections([replace(FACE, width=seen.width // 2)] if is_upright else [], rotation=self.turns)

    def limit(self):
        return None

    def close(self):
        pass


def corner(place):
    """Return a JPEG of 160 × 120 that is red at one place and white elsewhere."""
    image = Image.new("RGB", (160, 120), "white")
    image.paste("red", (*place, place[0] + 16, place[1] + 16))
    written = io.BytesIO()
    image.save(written, "JPEG", quality=95)
    return written.getvalue()


@pytest.mark.parametrize(
    ("place", "rotation", "width"), [((0, 0), 0, 80), ((0, 104), 90, 60), ((144, 104), 180, 80), ((144, 0), 270, 60)]
)
def test_a_picture_is_turned_until_there_are_faces_and_boxes_are_in_the_turned_one(place, rotation, width):
    with EmulatorServer(Emulator(UprightOnly())) as server:
        answer = detected(server, corner(place), "?rotate_until_faces_found=true")
        assert (answer["rotation"], answer["data"][0]["bbox"]["width"]) == (rotation, width)
        plain = detected(server, corner(place), "")
        assert "rotation" not in plain
        assert len(plain["data"]) == (rotation == 0)


def test_a_picture_without_faces_is_not_turned():
    with EmulatorServer(Emulator(UprightOnly())) as server:
        answer = detected(server, picture((160, 120)), "?rotate_until_faces_found=true")
    assert (answer["data"], answer["rotation"]) == ([], 0)


def test_what_an_engine_finds_by_turning_is_found_only_where_turning_is_asked_for():
    engine = UprightOnly()
    engine.turns = 90
    with EmulatorServer(Emulator(engine)) as server:
        assert detected(server, corner((0, 0)), "")["data"] == []


def detected(server, image, query):
    body = {"email": "any@example.com", "password": secrets.token_hex(4)}
    token = requests.post(f"{server.url}/api/v1/login", json=body, timeout=10).json()["data"]["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    answer = requests.post(f"{server.url}/api/v1/detect{query}", data=image, headers=headers, timeout=10)
    assert answer.status_code == 200
    return answer.json()


# Moods


def test_a_mood_takes_the_nth_call(http, emulator):
    emulator.script.set([Mood(name="status", status=503, nth=2)])
    assert [http.detect().status_code for _ in range(3)] == [200, 503, 200]


def test_a_mood_ends_after_so_many_calls(http, emulator):
    emulator.script.set([Mood(name="status", status=500, times=2)])
    assert [http.detect().status_code for _ in range(3)] == [500, 500, 200]


def test_a_mood_lasts_until_told_otherwise(http, emulator):
    emulator.script.set([Mood(name="status", status=500)])
    assert [http.detect().status_code for _ in range(3)] == [500, 500, 500]
    emulator.script.set([])
    assert http.detect().status_code == 200


def test_a_mood_knows_an_image_by_its_content_or_size(http, emulator):
    broken, large = picture((10, 10)), picture((300, 200))
    emulator.script.set(
        [
            Mood(name="status", status=415, sha256=hashlib.sha256(broken).hexdigest()),
            Mood(name="status", status=422, size=len(large)),
        ]
    )
    assert [http.detect(image).status_code for image in (broken, large, picture())] == [415, 422, 200]


def test_a_share_of_calls_is_drawn_the_same_way_for_the_same_seed():
    def drawn(seed):
        script = Script([Mood(name="reset", share=0.2)], seed)
        return [script.pick("detect", "", 0).name for _ in range(1000)]

    assert drawn(1) == drawn(1) != drawn(2)
    assert 150 < drawn(1).count("reset") < 250


def test_an_unknown_mood_is_refused():
    with pytest.raises(ValueError, match="angry"):
        Mood(name="angry")


def test_a_reset_connection_is_a_reset(http, emulator):
    emulator.script.set([Mood(name="reset")])
    with pytest.raises(requests.ConnectionError, match="reset by peer"):
        http.detect()


def test_a_cut_answer_promises_more_than_it_sends(http, emulator):
    emulator.script.set([Mood(name="cut")])
    with pytest.raises(requests.exceptions.ChunkedEncodingError, match="IncompleteRead"):
        http.detect()


def test_retry_after_is_seconds_or_a_date(http, emulator):
    emulator.script.set(
        [
            Mood(name="status", status=429, retry_after=7, nth=1),
            Mood(name="status", status=429, retry_after=7, date=True, nth=2),
            Mood(name="status", status=429, nth=3),
        ]
    )
    seconds, date, none = (http.detect().headers.get("Retry-After") for _ in range(3))
    assert (seconds, none) == ("7", None)
    assert date.endswith("GMT")


# Counting and control


def test_it_counts_calls_logins_images_and_those_at_the_same_moment(http, emulator):
    emulator.latency = 0.3
    threads = [threading.Thread(target=http.detect) for _ in range(3)]
    begun = time.time()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    counters = emulator.counters()
    assert counters["calls"] == {"login": 1, "detect": 3}
    assert (counters["logins"], counters["in_flight"], counters["max_in_flight"]) == (1, 0, 3)
    assert counters["images"] == {hashlib.sha256(picture()).hexdigest(): 3}
    assert len(counters["begins"]) == 3
    assert all(begun <= begin < begun + 5 for begin in counters["begins"])
    emulator.forget()
    assert emulator.counters()["calls"] == {}


def test_everything_can_be_told_over_http(http, emulator):
    mood = {"name": "status", "status": 418, "times": 1}
    assert http.put("/emulator/script", json={"moods": [mood], "seed": 3}).json()["moods"][0]["status"] == 418
    assert [http.detect().status_code for _ in range(2)] == [418, 200]
    settings = {"latency": 0.001, "max_bytes": 1000, "decode": False}
    assert http.put("/emulator/settings", json=settings).json() == settings
    assert http.get("/emulator/settings").json() == settings
    face = {"x": 1, "y": 2, "width": 3, "height": 4, "gender": "female", "age": 5.0, "score": 0.5}
    sha256 = hashlib.sha256(picture()).hexdigest()
    http.put("/emulator/faces", json={"default": None, "by_sha256": {sha256: [face]}})
    assert http.get("/emulator/faces").json() == {"default": None, "by_sha256": {sha256: [face]}}
    assert http.detect().json()["data"][0]["bbox"] == {"height": 4, "width": 3, "x": 1, "y": 2}
    assert http.get("/emulator/counters").json()["calls"] == {"login": 1, "detect": 3}
    assert http.delete("/emulator/counters").status_code == 204
    assert http.get("/emulator/counters").json()["calls"] == {}
    assert http.post("/emulator/revoke").status_code == 204
    assert http.detect().status_code == 401
    assert http.post("/emulator/reset").status_code == 204
    assert emulator.latency == 0
    assert emulator.script.moods == ()


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("script", {"moods": [{"name": "angry"}]}),
        ("script", {"moods": [{"nme": "ok"}]}),
        ("settings", {"latncy": 1}),
        ("settings", {"latency": "long"}),
        ("faces", {"default": [{"x": 1}]}),
        ("script", []),
    ],
)
def test_a_mistake_in_what_it_is_told_is_400(http, path, body):
    assert http.put(f"/emulator/{path}", json=body).status_code == 400


def test_closing_interrupts_a_slow_answer(emulator):
    emulator.script.set([Mood(name="ok", seconds=60)])
    server = EmulatorServer(emulator)
    over = threading.Event()

    def ask():
        with suppress(requests.ConnectionError):  # it is answered early, or cut off
            requests.post(f"{server.url}/api/v1/detect", data=picture(), timeout=30)
        over.set()

    thread = threading.Thread(target=ask)
    thread.start()
    while not emulator.counters()["in_flight"]:
        time.sleep(0.01)
    server.close()
    assert over.wait(20)
    thread.join(5)


def test_it_runs_from_the_command_line():
    command = [sys.executable, "-m", "devtools.facecloud_emulator", "--port", "0", "--faces", "scripted"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parent.parent
    ) as process:
        try:
            line = process.stdout.readline()
            url = re.fullmatch(r"FaceCloud emulator on (http://127\.0\.0\.1:\d+)\n", line)[1]
            assert requests.get(f"{url}/emulator/counters", timeout=10).json()["calls"] == {}
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0
        finally:
            process.kill()
