import hashlib
import http.client
import inspect
import io
import logging
import secrets
import socket
import ssl
import threading
import time
import traceback
from functools import partial

import pytest
import requests
import urllib3
from PIL import Image

from devtools.facecloud_emulator.app import Emulator
from devtools.facecloud_emulator.faults import Mood
from devtools.facecloud_emulator.server import EmulatorServer
from service.features.faces.engines.engine import Detection
from service.features.faces.engines.facecloud import FaceCloud
from service.features.faces.engines.facecloud.failures import TRANSPORT, unanswered
from service.imaging.decode import to_jpeg
from service.imaging.pixel_budget import PixelBudget
from service.jobs.operation import Answered, Cancelled, Failure, Unserved

EMAIL = f"{secrets.token_hex(6)}@example.com"
PASSWORD = secrets.token_hex(12)
FACE = Detection(30, 40, 50, 60, "female", 28.0, 0.999431, age_low=16.3, age_high=39.7)
SMALL = Detection(x=-1, y=-2, width=5, height=6, gender="male", age=None, score=None)


def picture(size=(120, 90), form="JPEG", colour=(200, 120, 90), **options):
    written = io.BytesIO()
    Image.new("RGB", size, colour).save(written, form, **options)
    return written.getvalue()


@pytest.fixture
def emulator():
    emulator = Emulator(email=EMAIL, password=PASSWORD)
    emulator.faces = [SMALL, FACE]
    return emulator


@pytest.fixture
def server(emulator):
    with EmulatorServer(emulator) as server:
        yield server


@pytest.fixture
def connect(server):
    """Return a function that makes clients; they are closed at the end."""
    made = []

    def connect(**options):
        options = {
            "url": server.url,
            "email": EMAIL,
            "password": PASSWORD,
            **options,
        }
        made.append(FaceCloud(**options))
        return made[-1]

    yield connect
    for client in made:
        client.close()


@pytest.fixture
def client(connect):
    return connect()


def failure_of(client, image=None):
    with pytest.raises(Failure) as caught:
        client.detect(image or picture())
    return caught.value


def in_threads(number, work):
    """Run `work(index)` in that many threads that begin together; return what each returned or raised."""
    barrier = threading.Barrier(number)
    results = [None] * number

    def run(index):
        barrier.wait(10)
        try:
            results[index] = work(index)
        except Failure as error:
            results[index] = error

    threads = [threading.Thread(target=run, args=(index,)) for index in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    return results


# What it gives


def test_faces_come_as_facecloud_saw_them_largest_first(client):
    assert client.detect(picture()) == [FACE, SMALL]


@pytest.mark.parametrize("ending", ["", "/", "/api/v1", "/api/v1/"])
def test_the_url_may_end_in_the_version_or_a_slash(server, connect, ending):
    assert connect(url=server.url + ending).detect(picture()) == [FACE, SMALL]


def test_no_faces_is_a_success(client, emulator):
    emulator.faces = []
    assert client.detect(picture()) == []


@pytest.mark.parametrize(
    "mood", [Mood(name="no_faces"), Mood(name="data", data=None), Mood(name="missing")], ids=lambda mood: mood.name
)
def test_every_other_way_to_say_no_faces_is_a_success(client, emulator, mood):
    emulator.script.set([mood])
    assert client.detect(picture()) == []


@pytest.mark.parametrize(
    ("age", "expected"),
    [
        ({"mean": 26.0, "variance": 51.0}, (26.0, 14.3, 37.7)),
        ({"mean": 3.0, "variance": 51.0}, (3.0, 0.0, 14.7)),
        ({"mean": 26, "variance": 0}, (26.0, 26.0, 26.0)),
        ({"mean": 26.0, "variance": -1.0}, (26.0, None, None)),
        ({"variance": 51.0}, (None, None, None)),
        (26, (26.0, None, None)),
    ],
)
def test_a_variance_becomes_the_range_that_holds_nine_in_ten(client, emulator, age, expected):
    box = {"x": 1, "y": 2, "width": 30, "height": 40}
    emulator.script.set([Mood(name="data", data=[{"bbox": box, "demographics": {"gender": "male", "age": age}}])])
    (face,) = client.detect(picture())
    assert (face.age, face.age_low, face.age_high) == expected
    assert (face.gender, face.male_probability, face.quality) == ("male", None, None)


def test_unusual_values_are_taken_as_far_as_they_say_something(client, emulator):
    emulator.script.set([Mood(name="odd")])
    assert client.detect(picture()) == [
        Detection(x=1, y=2, width=300, height=400, gender="unknown", age=None, score=None),
        Detection(x=-1, y=3, width=30, height=40, gender="unknown", age=None, score=1.0),
        Detection(5, 5, 5, 5, "unknown", 28.25, None, age_low=16.5, age_high=40.0),
    ]


@pytest.mark.parametrize(
    "data",
    [
        "faces",
        {"0": {}},
        {"faces": "many"},
        7,
    ],
)
def test_what_is_no_list_of_faces_was_not_served(client, emulator, data):
    emulator.script.set([Mood(name="data", data=data)])
    assert failure_of(client).code == "upstream_unavailable"


WHOLE = {
    "bbox": {"x": 30, "y": 40, "width": 50, "height": 60},
    "score": 0.999431,
    "demographics": {"gender": "female", "age": {"mean": 28.0, "variance": 51.0}},
}
UNSOUND = [
    None,
    {"score": 1.0},
    {"bbox": {"x": 1, "y": 2, "width": 3}},
    {"bbox": {"x": 1, "y": 2, "width": "3", "height": 4}},
    {"bbox": {"x": True, "y": 2, "width": 3, "height": 4}},
    {"bbox": {"x": 1e308, "y": 2, "width": 3, "height": 4}},
    {"bbox": {"x": 1, "y": 2, "width": -3, "height": 4}},
    {"bbox": [1, 2, 3, 4]},
]


@pytest.mark.parametrize("face", UNSOUND)
def test_a_face_that_cannot_be_read_costs_only_itself(client, emulator, face):
    emulator.script.set([Mood(name="data", data=[face, WHOLE])])
    assert client.detect(picture()) == [FACE]


@pytest.mark.parametrize("face", UNSOUND)
def test_an_answer_without_any_readable_face_is_not_asked_for_again(client, emulator, face):
    emulator.script.set([Mood(name="data", data=[face])])
    failure = failure_of(client)
    assert (failure.code, failure.attempts) == ("upstream_rejected", 1)
    assert failure.detail == "FaceCloud answered 200 with faces that cannot be read."


@pytest.mark.parametrize(("data", "found"), [([WHOLE], 1), ([], 0), (None, 0)])
def test_faces_may_stand_in_a_member_of_their_own(client, emulator, data, found):
    emulator.script.set([Mood(name="data", data={"faces": data})])
    assert client.detect(picture()) == [FACE][:found]


@pytest.mark.parametrize("age", [-5, 1e300, -1e300, 151, "28", True, None])
def test_an_age_that_nobody_has_is_unknown(client, emulator, age):
    face = WHOLE | {"demographics": {"gender": "female", "age": {"mean": age}}}
    emulator.script.set([Mood(name="data", data=[face])])
    [found] = client.detect(picture())
    assert (found.gender, found.age, found.width) == ("female", None, 50)


@pytest.mark.parametrize("score", [-0.1, 1.5, 1e300])
def test_a_score_outside_its_range_is_unknown(client, emulator, score):
    emulator.script.set([Mood(name="data", data=[WHOLE | {"score": score}])])
    assert [face.score for face in client.detect(picture())] == [None]


@pytest.mark.parametrize("form", ["PNG", "WEBP"])
def test_a_png_or_webp_is_sent_as_a_jpeg(client, form):
    assert client.detect(picture(form=form)) == [FACE, SMALL]


def test_a_sideways_photo_is_sent_upright_without_its_tag(server, connect, emulator):
    class Looks:
        def detect(self, image, *_):
            with Image.open(io.BytesIO(image)) as seen:
                self.size, self.exif = seen.size, dict(seen.getexif())
            return [FACE]

    emulator.faces = None
    emulator.engine = looks = Looks()
    exif = Image.Exif()
    exif[0x0112] = 6
    assert connect().detect(picture((120, 90), exif=exif)) == [FACE]
    assert (looks.size, looks.exif) == ((90, 120), {})


def test_a_plain_jpeg_is_sent_byte_for_byte(client, emulator):
    image = picture()
    client.detect(image)
    assert emulator.counters()["images"] == {hashlib.sha256(image).hexdigest(): 1}


def test_a_large_image_is_sent_smaller_and_its_boxes_are_scaled_back(connect, emulator):
    emulator.faces = [FACE]
    image = picture((400, 300))
    (face,) = connect(convert=partial(to_jpeg, max_pixels=200 * 150, budget=PixelBudget())).detect(image)
    assert (face.x, face.y, face.width, face.height) == (60, 80, 100, 120)
    assert hashlib.sha256(image).hexdigest() not in emulator.counters()["images"]


# The login


def test_eight_threads_share_one_login(client, emulator):
    assert in_threads(8, lambda _: client.detect(picture())) == [[FACE, SMALL]] * 8
    assert emulator.counters()["logins"] == 1


def test_eight_threads_share_one_login_when_the_token_is_revoked(client, emulator):
    client.detect(picture())
    for _ in range(5):
        emulator.revoke()
        emulator.forget()
        assert in_threads(8, lambda _: client.detect(picture())) == [[FACE, SMALL]] * 8
        assert emulator.counters()["logins"] == 1


def test_a_token_revoked_in_the_middle_costs_one_login_and_no_image(client, emulator):
    emulator.script.set([Mood(name="revoke", nth=40)])
    results = in_threads(8, lambda _: [client.detect(picture()) for _ in range(20)])
    assert results == [[[FACE, SMALL]] * 20] * 8
    assert emulator.counters()["logins"] == 2


REFUSED_TOKENS = [
    (400, {"message": "Invalid token"}),
    (400, {"msg": "Token has expired"}),
    (401, {"msg": "Token has been revoked"}),
    (422, {"msg": "Signature verification failed"}),
    (422, {"msg": "Not enough segments"}),
    (422, {"msg": "Invalid header padding"}),
    (422, {"message": "Only non-refresh tokens are allowed"}),
    (422, {"error": {"token": ["is not valid"]}}),
]


@pytest.mark.parametrize(("status", "body"), REFUSED_TOKENS)
def test_a_refused_token_is_renewed_whatever_its_status_and_member(client, emulator, status, body):
    emulator.script.set([Mood(name="status", status=status, body=body, nth=1)])
    assert client.detect(picture()) == [FACE, SMALL]
    assert emulator.counters()["logins"] == 2


@pytest.mark.parametrize("member", ["message", "msg", "error"])
def test_a_refused_image_costs_no_login_and_is_told_in_the_answers_words(client, emulator, member):
    emulator.script.set([Mood(name="status", status=422, body={member: "the picture is upside down"})])
    failure = failure_of(client)
    assert (failure.code, failure.attempts) == ("upstream_rejected", 1)
    assert failure.detail == "FaceCloud answered 422: the picture is upside down."
    assert emulator.counters()["logins"] == 1


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (["too dark", "too small"], "too dark too small"),
        ({"image": ["too dark"], "size": "too small"}, "image: too dark size: too small"),
        ({"image": {"width": "too small"}}, "image: width: too small"),
    ],
)
def test_the_words_of_an_error_are_found_wherever_they_stand(client, emulator, error, words):
    emulator.script.set([Mood(name="status", status=400, body={"error": error})])
    assert failure_of(client).detail == f"FaceCloud answered 400: {words}."


def test_a_refused_account_and_a_refused_new_token_are_told_in_the_answers_words(connect, emulator):
    emulator.script.set([Mood(name="status", status=422, body={"msg": "Signature verification failed"})])
    failure = failure_of(connect())
    assert failure.code == "upstream_unauthorized"
    assert failure.detail.endswith("just given: Signature verification failed.")
    emulator.script.set([Mood(name="status", status=401, body={"msg": "The account is closed"}, path="login")])
    assert failure_of(connect()).detail.endswith(": The account is closed.")


def test_a_second_401_fails_and_is_not_repeated_again(client, emulator):
    emulator.script.set([Mood(name="status", status=401)])
    failure = failure_of(client)
    assert (failure.code, failure.attempts) == ("upstream_unauthorized", 1)
    assert emulator.counters()["calls"] == {"login": 2, "detect": 2}


def test_tokens_that_are_always_refused_do_not_hammer_the_login(client, emulator):
    emulator.script.set([Mood(name="status", status=401)])
    for _ in range(40):
        assert failure_of(client).code == "upstream_unauthorized"
    assert emulator.counters()["logins"] <= 11


@pytest.mark.parametrize("status", [400, 401, 403])
def test_a_refused_account_fails_the_batch_with_one_login(client, emulator, status):
    emulator.script.set([Mood(name="status", status=status, path="login")])
    failures = [*in_threads(8, lambda _: failure_of(client)), failure_of(client)]
    assert {(failure.code, failure.attempts) for failure in failures} == {("upstream_unauthorized", 1)}
    assert all("FACECLOUD_EMAIL" in failure.detail for failure in failures)
    assert emulator.counters()["calls"] == {"login": 1}


@pytest.mark.parametrize("mood", [{"path": "login", "status": 401}, {"status": 402}, {"status": 403}])
def test_a_refusal_holds_for_what_waited_beside_it_and_not_for_what_is_started_later(client, emulator, mood):
    emulator.script.set([Mood(name="status", **mood)])
    refused = failure_of(client)
    emulator.script.set([])
    calls = emulator.counters()["calls"]
    assert failure_of(client).code == refused.code
    assert emulator.counters()["calls"] == calls
    assert client.detect(picture(), due_at=time.time()) == [FACE, SMALL]
    assert client.detect(picture()) == [FACE, SMALL], "a success forgets the refusal"


def test_a_wrong_password_is_told_as_a_refused_account(connect):
    assert "FACECLOUD_PASSWORD" in failure_of(connect(password=secrets.token_hex(4))).detail


def test_a_login_that_is_not_answered_is_like_any_call(client, emulator):
    emulator.script.set([Mood(name="reset", path="login")])
    failures = in_threads(4, lambda _: failure_of(client))
    assert all(isinstance(failure, Unserved) for failure in failures)
    emulator.script.set([])
    assert client.detect(picture()) == [FACE, SMALL]


def test_a_login_without_a_token_is_no_login(client, emulator):
    emulator.script.set([Mood(name="data", data={"token": 1}, path="login")])
    assert failure_of(client).code == "upstream_unavailable"


# Failures, row by row

ROWS = [
    (Mood(name="status", status=400, message="bad"), "upstream_rejected", 1, "400: bad"),
    (Mood(name="status", status=413), "upstream_rejected", 1, "413"),
    (Mood(name="status", status=415), "upstream_rejected", 1, "415"),
    (Mood(name="status", status=422), "upstream_rejected", 1, "422"),
    (Mood(name="status", status=404), "upstream_rejected", 1, "404"),
    (Mood(name="status", status=418), "upstream_rejected", 1, "418"),
    (Mood(name="status", status=302), "upstream_rejected", 1, "302"),
    (Mood(name="status", status=402), "upstream_quota", 1, "402"),
    (Mood(name="status", status=403, message="Monthly quota exceeded"), "upstream_quota", 1, "quota"),
    (Mood(name="status", status=403, message="Forbidden"), "upstream_unauthorized", 1, "Forbidden"),
    (Mood(name="status", status=429), "upstream_quota", None, "429"),
    (Mood(name="status", status=500), "upstream_unavailable", 2, "500"),
    (Mood(name="status", status=408), "upstream_unavailable", None, "408"),
    (Mood(name="status", status=425), "upstream_unavailable", None, "425"),
    (Mood(name="html", status=502), "upstream_unavailable", None, "answered 502."),
    (Mood(name="status", status=503), "upstream_unavailable", None, "503"),
    (Mood(name="html", status=504), "upstream_unavailable", None, "answered 504."),
    (Mood(name="html", status=200), "upstream_unavailable", None, "not JSON"),
    (Mood(name="text"), "upstream_unavailable", None, "not JSON"),
    (Mood(name="half"), "upstream_unavailable", None, "not JSON"),
    (Mood(name="cut"), "upstream_unavailable", None, "broke off"),
    (Mood(name="reset"), "upstream_unavailable", None, "broke off"),
    (Mood(name="inner", status=503), "upstream_unavailable", None, "503"),
    (Mood(name="inner", status=415), "upstream_rejected", 1, "415"),
    (Mood(name="inner", status=401), "upstream_unauthorized", 1, "token"),
]


@pytest.mark.parametrize(
    ("mood", "code", "attempts", "words"), ROWS, ids=[f"{row[0].name} {row[0].status} {row[1]}" for row in ROWS]
)
def test_a_failure_has_a_code_a_sentence_and_the_attempts_it_is_worth_or_costs_time(
    client, emulator, mood, code, attempts, words
):
    emulator.script.set([mood])
    failure = failure_of(client)
    assert failure.code == code
    assert isinstance(failure, Unserved) if attempts is None else failure.attempts == attempts
    assert isinstance(failure, Answered) is (attempts == 1)
    assert words in failure.detail
    assert "<" not in failure.detail


@pytest.mark.parametrize(
    "mood", [Mood(name="ok", seconds=20), Mood(name="drip", seconds=0.05)], ids=lambda mood: mood.name
)
def test_an_answer_that_takes_too_long_is_given_up(connect, emulator, mood):
    emulator.faces = [FACE] * 50  # 7 KB, a byte at a time: six minutes
    emulator.script.set([mood])
    client = connect(timeout=0.3)
    begun = time.monotonic()
    failure = failure_of(client)
    assert time.monotonic() - begun < 15
    assert isinstance(failure, Unserved)
    assert failure.code == "upstream_unavailable"
    assert failure.detail == "FaceCloud did not answer within 0.3 s."


def test_a_refused_connection_is_told_as_such(connect):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    failure = failure_of(connect(url=f"http://127.0.0.1:{port}"))
    assert isinstance(failure, Unserved)
    assert failure.code == "upstream_unavailable"
    assert failure.detail == "FaceCloud could not be reached."


def test_a_host_without_an_address_is_told_as_such(connect):
    assert failure_of(connect(url="http://facecloud.invalid")).detail == "FaceCloud could not be reached."


def test_a_host_that_speaks_no_tls_is_told_as_such(connect, server):
    failure = failure_of(connect(url=server.url.replace("http:", "https:")))
    assert (failure.code, failure.detail) == (
        "upstream_unavailable",
        "No secure connection to FaceCloud could be made.",
    )


def test_an_image_that_does_not_decode_is_never_sent(client, emulator):
    failure = failure_of(client, picture(form="PNG")[:60])
    assert (failure.code, failure.attempts) == ("image_rejected", 1)
    assert emulator.counters()["calls"] == {}


def test_facecloud_is_quoted_short_on_one_line_and_without_markup(client, emulator):
    emulator.script.set([Mood(name="status", status=422, message="<b>bad</b>\r\n\x00\x1b[31m\u202eimage " + "x" * 900)])
    detail = failure_of(client).detail
    assert detail.startswith("FaceCloud answered 422: bad [31m image xxx")
    assert len(detail) < 240
    assert detail.isprintable()


@pytest.mark.parametrize("status", [402, 403])
def test_a_spent_quota_stops_the_batch_without_sending_more(client, emulator, status):
    emulator.script.set([Mood(name="status", status=status)])
    failures = [failure_of(client) for _ in range(20)]
    assert len({failure.detail for failure in failures}) == 1
    assert emulator.counters()["calls"]["detect"] == 1


# 429 and Retry-After


def test_a_retry_after_of_a_year_is_not_believed(client, emulator):
    emulator.script.set([Mood(name="status", status=429, retry_after=31_536_000)])
    assert failure_of(client).wait == pytest.approx(3600, abs=1)


@pytest.mark.parametrize("date", [False, True])
@pytest.mark.parametrize("status", [429, 503])
def test_a_retry_after_is_told_to_the_kernel(client, emulator, status, date):
    emulator.script.set([Mood(name="status", status=status, retry_after=20, date=date)])
    assert failure_of(client).wait == pytest.approx(20, abs=1.5)


def test_without_a_time_the_kernel_decides_when_to_try_again(client, emulator):
    emulator.script.set([Mood(name="status", status=429)])
    assert failure_of(client).wait is None


# Cancelling


def asked(times):
    """Return a `cancelled` that says yes when it is asked for the n-th time."""
    count = 0

    def cancelled():
        nonlocal count
        count += 1
        return count == times

    return cancelled


@pytest.mark.parametrize(
    ("times", "calls"), [(1, {}), (2, {"login": 1}), (3, {"login": 1, "detect": 1}), (4, {"login": 2, "detect": 1})]
)
def test_a_cancelled_run_makes_no_further_call(client, emulator, times, calls):
    emulator.script.set([Mood(name="revoke", nth=1)])
    with pytest.raises(Cancelled):
        client.detect(picture(), asked(times))
    assert emulator.counters()["calls"] == calls


def test_a_run_that_waits_for_anothers_login_can_be_cancelled(client, emulator):
    emulator.script.set([Mood(name="ok", seconds=6, path="login")])
    logging_in = threading.Thread(target=client.detect, args=(picture(),))
    logging_in.start()
    while not emulator.counters()["calls"]:
        time.sleep(0.01)
    begun = time.monotonic()
    with pytest.raises(Cancelled):
        client.detect(picture(), lambda: True)
    assert time.monotonic() - begun < 5
    logging_in.join(10)


def test_a_server_that_is_gone_and_comes_back_is_used_again(emulator):
    first = EmulatorServer(emulator)
    client = FaceCloud(first.url, EMAIL, PASSWORD)
    try:
        client.detect(picture())
        first.close()
        assert isinstance(failure_of(client), Unserved)
        with EmulatorServer(emulator, port=first.port):
            assert client.detect(picture()) == [FACE, SMALL]
    finally:
        first.close()
        client.close()


# Connections, secrets, exceptions, figures


def test_connections_are_kept_alive(client, server):
    for _ in range(20):
        client.detect(picture())
    assert server.accepted == 1


def test_a_redirect_is_not_followed(connect, emulator):
    with EmulatorServer(Emulator()) as other:
        emulator.script.set([Mood(name="status", status=307, location=other.url + "/api/v1/detect")])
        assert "307" in failure_of(connect()).detail
        assert other.emulator.counters()["calls"] == {}


def test_no_secret_is_in_any_exception_or_log_line(connect, emulator, caplog):
    caplog.set_level(logging.DEBUG)
    client = connect()
    client.detect(picture())
    token = client._session._token.value
    moods = [row[0] for row in ROWS]
    moods += [Mood(name="status", status=415, message=f"for {secret}") for secret in (token, EMAIL, PASSWORD)]
    moods += [Mood(name="status", status=401, path="login", message=f"{EMAIL} {PASSWORD}")]
    written = []
    for mood in moods:
        client = connect()
        emulator.script.set([mood])
        try:
            client.detect(picture())
        except Failure as failure:
            written += traceback.format_exception(failure)
    everything = "".join(written) + caplog.text
    assert written
    for secret in (EMAIL, PASSWORD, "Bearer eyJ", token):
        assert secret not in everything


def exceptions_of(module):
    return [
        kind
        for _, kind in inspect.getmembers(module, inspect.isclass)
        if issubclass(kind, Exception) and not issubclass(kind, Warning) and not kind.__name__.startswith("_")
    ]


@pytest.mark.parametrize("module", [requests.exceptions, urllib3.exceptions, http.client, socket, ssl])
def test_every_exception_of_the_transport_is_mapped(module):
    kinds = exceptions_of(module)
    assert kinds
    assert [kind for kind in kinds if not issubclass(kind, TRANSPORT)] == []
    for kind in kinds:
        failure = unanswered(kind.__new__(kind), 30.0)
        assert isinstance(failure, Unserved)
        assert failure.detail.endswith(".")


def test_every_http_call_is_observed_with_its_outcome(connect, emulator):
    seen = []
    client = connect(observe=lambda outcome, seconds: seen.append((outcome, seconds)))
    emulator.script.set([Mood(name="html", status=502, nth=2), Mood(name="reset", nth=3)])
    client.detect(picture())
    for _ in range(2):
        failure_of(client)
    assert [outcome for outcome, _ in seen] == ["200", "200", "502", "unanswered"]
    assert all(0 <= seconds < 5 for _, seconds in seen)


def test_no_more_calls_are_under_way_than_threads_ask_for(connect, emulator):
    emulator.latency = 0.02
    client = connect(concurrency=4)
    in_threads(4, lambda _: [client.detect(picture()) for _ in range(5)])
    assert emulator.counters()["max_in_flight"] == 4
