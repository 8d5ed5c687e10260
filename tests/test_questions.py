"""Quiz questions over HTTP: the order of requests, each question once, and sources on their bad days."""

import html
import itertools
import json
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from service.features.questions import builtin
from service.features.questions.opentdb import INTERVAL
from service.features.questions.operations import ROUNDS
from service.features.questions.source import fetched_question, strip_html
from tests.conftest import MakeService, on_both_databases, on_database
from tests.support import Client, Service, wait_for

Reply = tuple[int, dict[str, str], bytes]
Answer = Callable[[dict[str, str]], Reply]


def as_json(value: object, status: int = 200, **headers: str) -> Reply:
    return status, {name.replace("_", "-"): text for name, text in headers.items()}, json.dumps(value).encode()


class QuizServer(ThreadingHTTPServer):
    """A server on a free port that answers each path as a function says, and writes down what it was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.answers: dict[str, Answer] = {}
        self.calls: list[tuple[float, str, dict[str, str]]] = []
        self.closing = threading.Event()
        self.lock = threading.Lock()
        self.numbers = itertools.count(1)
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self.closing.set()
        self.shutdown()
        self.server_close()

    def counts(self) -> list[int]:
        """Return what each call asked for."""
        return [int(query.get("count") or query.get("amount") or 0) for _, _, query in self.calls]


class _Handler(BaseHTTPRequestHandler):
    server: QuizServer

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        with self.server.lock:
            self.server.calls.append((time.time(), parts.path, query))
        answer = self.server.answers.get(parts.path, lambda _: as_json({}, 404))
        status, headers, body = answer(query)
        self.send_response(status)
        for name, text in ({"Content-Length": str(len(body))} | headers).items():
            self.send_header(name, text)
        self.end_headers()
        if "X-Drip" not in headers:
            self.wfile.write(body)
            return
        for byte in body:
            if self.server.closing.wait(0.5):
                return
            self.wfile.write(bytes([byte]))
            self.wfile.flush()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def quiz() -> Iterator[QuizServer]:
    server = QuizServer()
    yield server
    server.close()


@dataclass
class Asking:
    """A service with a source, which all tests of a kind of source share."""

    service: Service
    source: QuizServer

    def anew(self) -> Client:
        """Forget all questions and what was asked of the source, and return a client."""
        self.source.answers = {}
        self.source.calls = []
        self.source.numbers = itertools.count(1)
        with closing(sqlite3.connect(self.service.folder / "service.db", timeout=30)) as database, database:
            database.execute("DELETE FROM question")
            database.execute("UPDATE question_source SET last_call_at = 0, token = NULL")
            database.execute("DELETE FROM sqlite_sequence WHERE name = 'question'")
        return self.service.client()


@contextmanager
def asking_service(folder: Path, migrated: Path, **settings: object) -> Iterator[Asking]:
    source = QuizServer()
    shutil.copy(migrated, folder / "service.db")
    given = {name: source.url if value is None else value for name, value in settings.items()}
    service = Service(folder, WEB_CONCURRENCY=1, **given)
    service.start()
    yield Asking(service, source)
    service.kill()
    source.close()


@pytest.fixture(scope="module")
def asking_jservice(tmp_path_factory: pytest.TempPathFactory, migrated: Path) -> Iterator[Asking]:
    with asking_service(tmp_path_factory.mktemp("jservice"), migrated, QUIZ_SOURCE=None) as asking:
        yield asking


@pytest.fixture(scope="module")
def asking_trivia(tmp_path_factory: pytest.TempPathFactory, migrated: Path) -> Iterator[Asking]:
    settings = {"QUIZ_SOURCE": "opentdb", "OPENTDB_URL": None}
    with asking_service(tmp_path_factory.mktemp("opentdb"), migrated, **settings) as asking:
        yield asking


def clue(number: int, **members: Any) -> dict[str, Any]:
    """Return a clue as jservice gave it."""
    clue = {"id": number, "question": f"Question {number}?", "answer": f"Answer {number}", "value": 200}
    return {**clue, "category": {"id": 1, "title": "numbers"}, **members}


def in_turn(*replies: Reply, then: Answer | None = None) -> Answer:
    """Answer the first call with the first reply and so on; then as `then` says, or with the last one again."""
    waiting = list(replies)

    def answer(query: dict[str, str]) -> Reply:
        if len(waiting) > 1 or (waiting and then):
            return waiting.pop(0)
        return then(query) if then else waiting[0]

    return answer


def fresh(server: QuizServer) -> Answer:
    """Answer with as many clues as are asked for, each another one."""
    return lambda query: as_json([clue(next(server.numbers)) for _ in range(int(query.get("count", "1")))])


def post(client: Client, number: object) -> Any:
    """Ask for so many new questions, and return what a 200 says."""
    answer = client.post("/questions", json={"questions_num": number})
    assert answer.status_code == 200, answer.text
    return answer.json()


def refused(client: Client, number: int) -> dict[str, Any]:
    """Ask for so many new questions, and return the problem of the 503."""
    answer = client.post("/questions", json={"questions_num": number})
    assert answer.status_code == 503, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert int(answer.headers["Retry-After"]) >= 1
    problem: dict[str, Any] = answer.json()
    return problem | {"retry_after": int(answer.headers["Retry-After"])}


def stored(client: Client) -> list[dict[str, Any]]:
    """Return all stored questions, oldest first."""
    items: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        page = client.get("/questions", params={"limit": "100"} | cursor).json()
        items += page["items"]
        if page["next"] is None:
            return items[::-1]
        cursor = {"cursor": page["next"]}


# The contract, with the questions that come along


def test_each_request_gets_the_last_question_before_it(make_service: MakeService) -> None:
    client = make_service().start()
    assert post(client, 3) == {}
    first = stored(client)
    assert len(first) == 3
    assert post(client, 2) == first[-1]
    assert post(client, 100) == stored(client)[4]
    everything = stored(client)
    assert len(everything) == 105
    assert [question["id"] for question in everything] == sorted({question["id"] for question in everything})
    origin = {"source", "external_id", "asked_at", "difficulty", "value"}
    assert set(everything[0]) == {"id", "question", "answer", "category", "created_at", *origin}
    assert everything[0]["source"] == "builtin"
    assert everything[0]["created_at"].endswith("Z")


@pytest.mark.parametrize("number", [0, 101, -1, "3", 2.5, None, True, [1]])
def test_a_number_outside_1_to_100_is_invalid(client: Client, number: object) -> None:
    answer = client.post("/questions", json={"questions_num": number})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "#/questions_num"


def test_bodies_are_read_strictly(client: Client) -> None:
    unknown = client.post("/questions", json={"questions_num": 1, "source": "builtin"})
    assert (unknown.status_code, unknown.json()["errors"][0]["pointer"]) == (422, "#/source")
    assert client.post("/questions", json={}).status_code == 422
    assert client.post("/questions", data="{").status_code == 400
    assert client.get("/questions?limit=0").status_code == 422
    assert client.get("/questions?limit=101").status_code == 422
    assert client.get("/questions?cursor=made-up").status_code == 422
    assert client.delete("/questions").status_code == 405


def test_questions_need_credentials_and_clues_do_not(client: Client) -> None:
    client.auth = None
    for answer in (client.get("/questions"), client.post("/questions", json={"questions_num": 1})):
        assert answer.status_code == 401
        assert "Basic" in answer.headers["WWW-Authenticate"]
    assert client.get("/api/random").status_code == 200


@on_database("sqlite")
def test_a_walk_through_the_list_meets_each_question_once(make_service: MakeService) -> None:
    client = make_service().start()
    post(client, 45)
    seen: list[int] = []
    page = client.get("/questions").json()
    while True:
        seen += [question["id"] for question in page["items"]]
        if page["next"] is None:
            break
        post(client, 1)  # what comes later is not part of this walk
        page = client.get("/questions", params={"cursor": page["next"]}).json()
    assert seen == list(range(45, 0, -1))


def test_clues_have_the_form_of_jservice(client: Client) -> None:
    assert len(client.get("/api/random").json()) == 1
    clues = client.get("/api/random?count=100").json()
    assert len({clue["id"] for clue in clues}) == 100
    for clue in clues:
        assert clue["question"]
        assert clue["answer"]
        assert isinstance(clue["id"], int)
        assert clue["category"]["id"] == clue["category_id"]
        assert clue["category"]["title"]
    for count in ("0", "101", "-1", "many", ""):
        assert client.get("/api/random", params={"count": count}).status_code == 422


def test_the_document_has_the_calls(client: Client) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    assert set(paths["/questions"]) == {"get", "post"}
    assert paths["/api/random"]["get"]["security"] == []
    assert "503" in paths["/questions"]["post"]["responses"]


@on_both_databases
def test_twenty_requests_at_once_form_one_order(make_service: MakeService) -> None:
    service = make_service(WEB_CONCURRENCY=2)
    client = service.start()
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda number: post(service.client(), number), [3, 7] * 10))
    questions = {question["id"]: question for question in stored(client)}
    assert len(questions) == 100
    assert len({question["question"] for question in questions.values()}) == 100
    ids = [answer.get("id", 0) for answer in answers]
    assert len(set(ids)) == 20
    assert all(not answer or answer == questions[answer["id"]] for answer in answers)
    # Each got the last question of another one: the answers cut the list into exactly the pieces that were asked for.
    cuts = sorted([*ids, 100])
    assert sorted(after - before for before, after in itertools.pairwise(cuts)) == [3] * 10 + [7] * 10


def test_all_builtin_questions_can_be_had_and_then_no_more(make_service: MakeService) -> None:
    service = make_service(WEB_CONCURRENCY=2)
    client = service.start()
    total = len(builtin.load())
    assert total >= 1000
    whole, rest = divmod(total, 100)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: post(service.client(), 100), range(whole)))
    problem = refused(client, 100)
    assert problem["saved"] == rest
    assert "no new questions" in problem["detail"]
    assert problem["retry_after"] > 60
    assert refused(client, 1)["saved"] == 0
    assert len({question["question"] for question in stored(client)}) == total


def test_the_builtin_questions_are_well_formed() -> None:
    content = json.loads(builtin.FILE.read_text("utf-8"))
    assert all(set(origin) == {"source", "licence"} for origin in content["origins"].values())
    questions = builtin.load()
    assert len(questions) == len(content["questions"])
    assert len({question.fingerprint for question in questions}) == len(questions)
    assert len({question.external_id for question in questions}) == len(questions)
    assert {row["origin"] for row in content["questions"]} == set(content["origins"])
    answers = {question.question: question.answer for question in questions}
    assert answers["What is the chemical symbol of iron?"] == "Fe"
    assert answers["What is the atomic number of gold?"] == "79"
    assert answers["What is the capital of Japan?"] == "Tokyo"
    assert answers["What is the capital of the U.S. state of Georgia?"] == "Atlanta"
    assert answers["Which currency has the three-letter ISO code CHF?"] == "Swiss Franc"


@pytest.mark.parametrize(
    "other",
    [
        "WHO wrote  <i>Hamlet</i>?",
        "Who wrote Hamlet?\n",
        "Who&nbsp;wrote &#72;amlet?",
        "who wrote &lt;b&gt;hamlet&lt;/b&gt;?",
    ],
)
def test_texts_that_differ_in_looks_only_are_the_same(other: str) -> None:
    one, two = (
        fetched_question(1, "Who wrote Hamlet?", "Shakespeare", None),
        fetched_question(2, other, "Shakespeare", None),
    )
    assert one
    assert two
    assert one.fingerprint == two.fingerprint


# A jservice


def test_a_jservice_is_asked_again_for_what_is_short(asking_jservice: Asking) -> None:
    client, quiz = asking_jservice.anew(), asking_jservice.source
    quiz.answers["/api/random"] = in_turn(
        as_json([clue(1), clue(1), clue(2, question=None), clue(3, answer=""), clue(4, question=" <b> </b> ")]),
        as_json([clue(5, question="QUESTION  <i>1</i>?"), clue(6), None, 7, {"id": 8}]),
        as_json([clue(6, question="Another text?"), clue(9), clue(10)]),
        as_json([clue(number) for number in range(11, 30)]),
    )
    assert post(client, 5) == {}
    assert [question["question"] for question in stored(client)] == [f"Question {n}?" for n in (1, 6, 9, 10, 11)]
    assert quiz.counts() == [5, 4, 3, 1]
    assert stored(client)[0]["category"] == "numbers"
    assert stored(client)[0]["source"] == "jservice"


def test_texts_are_stored_decoded(asking_jservice: Asking) -> None:
    client, quiz = asking_jservice.anew(), asking_jservice.source
    markup = clue(1, question="<i>Tom &amp;  Jerry</i>&#39;s &quot;cat&quot;", answer="Caf&eacute;", category=None)
    quiz.answers["/api/random"] = in_turn(as_json([markup]))
    post(client, 1)
    (question,) = stored(client)
    assert (question["question"], question["answer"]) == ('Tom & Jerry\'s "cat"', "Café")
    assert question["category"] is None


@on_database("sqlite")
def test_what_a_jservice_says_of_a_question_is_kept(make_service: MakeService, quiz: QuizServer) -> None:
    dates = {"airdate": "1999-12-31T23:00:00.000-02:00", "created_at": "2014-02-11T22:47:18.687Z"}
    quiz.answers["/api/random"] = in_turn(
        as_json(
            [
                clue(71, **dates, value=400),
                clue(72, **dates | {"airdate": None}, value=None),
                clue(73, airdate="some day", created_at=7, value="much"),
                clue(74, airdate="2004-12-31", value=1e300),
            ]
        )
    )
    client = make_service(QUIZ_SOURCE=quiz.url).start()
    assert post(client, 4) == {}
    kept = [(q["external_id"], q["asked_at"], q["value"], q["difficulty"]) for q in stored(client)]
    assert kept == [
        ("71", "2000-01-01T01:00:00.000Z", 400, None),
        ("72", "2014-02-11T22:47:18.687Z", None, None),
        ("73", None, None, None),
        ("74", "2004-12-31T00:00:00.000Z", None, None),
    ]
    quiz.answers["/api/random"] = in_turn(as_json([clue(75)]))
    answer = post(client, 1)
    assert (answer["external_id"], answer["asked_at"]) == ("74", "2004-12-31T00:00:00.000Z")
    assert answer["created_at"] > "2026"


def test_clues_that_were_found_invalid_are_skipped(asking_jservice: Asking) -> None:
    client, quiz = asking_jservice.anew(), asking_jservice.source
    clues = [clue(1, invalid_count=1), clue(2, invalid_count=None), clue(3, invalid_count=0), clue(4, invalid_count=12)]
    quiz.answers["/api/random"] = in_turn(as_json(clues))
    assert refused(client, 3)["saved"] == 2
    assert [question["external_id"] for question in stored(client)] == ["2", "3"]


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("a<br>b", "a b"),
        ("a<br/>b", "a b"),
        ("a<BR clear=all>b", "a b"),
        ("a <br /> b", "a b"),
        ("<p>a</p><p>b</p>", "a b"),
        ("<ul><li>a</li><li>b</li></ul>", "a b"),
        ("<i>a</i>b", "ab"),
        ("<b>a</b>, b", "a, b"),
    ],
)
def test_a_tag_that_begins_a_line_parts_the_words_beside_it(markup: str, text: str) -> None:
    made = fetched_question(1, strip_html(markup), "yes", None)
    plain = fetched_question(2, text, "yes", None)
    marked = fetched_question(3, markup, "yes", None)
    assert made and plain and marked
    assert made.question == text
    assert made.fingerprint == plain.fingerprint == marked.fingerprint


def test_a_source_of_repeats_is_asked_ten_times(asking_jservice: Asking) -> None:
    client, quiz = asking_jservice.anew(), asking_jservice.source
    quiz.answers["/api/random"] = in_turn(as_json([clue(1), clue(2)]))
    assert refused(client, 5)["saved"] == 2
    assert len(quiz.calls) == ROUNDS
    assert refused(client, 5)["saved"] == 0
    assert len(stored(client)) == 2
    quiz.answers["/api/random"] = fresh(quiz)
    assert post(client, 3)["question"] == "Question 2?"
    assert len(stored(client)) == 5


def test_a_shortage_is_told_as_it_is_and_how_soon_to_ask_again(asking_jservice: Asking) -> None:
    client, quiz = asking_jservice.anew(), asking_jservice.source
    useless = [clue(1, answer=None), clue(2, question=" "), None]
    answers: dict[str, tuple[Answer, str, int, range]] = {
        "one at a time": (
            lambda _: as_json([clue(next(quiz.numbers))]),
            "fewer new questions than were asked",
            10,
            range(1, 31),
        ),
        "nothing": (in_turn(as_json([])), "gave no questions", 0, range(1, 301)),
        "useless": (in_turn(as_json(useless)), "cannot be used: without", 0, range(1, 301)),
        "known": (in_turn(as_json([clue(1)])), "only questions that are stored already.", 0, range(3600, 3601)),
        "both": (in_turn(as_json([clue(1), None])), "stored already or cannot be used", 0, range(3600, 3601)),
    }
    for kind, (answer, sentence, saved, seconds) in answers.items():
        quiz.answers["/api/random"] = answer
        problem = refused(client, 20)
        assert sentence in problem["detail"], kind
        assert (problem["saved"], problem["retry_after"] in seconds) == (saved, True), kind


BROKEN: dict[str, Reply] = {
    "too many requests": as_json({}, 429, Retry_After="17"),
    "an error": as_json({"error": "secret words"}, 500),
    "an error page": (502, {}, b"<html>Bad Gateway</html>"),
    "half a JSON": (200, {}, b'[{"id": 1, "question": "Wh'),
    "a cut connection": (200, {"Content-Length": "5000"}, b"[{}"),
    "no list": as_json({"clues": []}),
    "too much": (200, {}, b"[" + b"1," * 2_500_000 + b"1]"),
    "a surrogate": (200, {}, b'[{"id": 1, "question": "\\ud800", "answer": "x"}]'),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_what_was_saved_stays_when_the_source_breaks(asking_jservice: Asking, fault: str) -> None:
    client, quiz = asking_jservice.anew(), asking_jservice.source
    quiz.answers["/api/random"] = in_turn(as_json([clue(101), clue(102)]), BROKEN[fault])
    problem = refused(client, 5)
    assert problem["saved"] == 2
    assert problem["retry_after"] == 17 if fault == "too many requests" else problem["retry_after"] >= 1
    assert "secret" not in problem["detail"]
    assert quiz.url not in problem["detail"]
    assert len(stored(client)) == 2
    quiz.answers["/api/random"] = fresh(quiz)
    assert post(client, 1)["question"] == "Question 102?"
    assert "Traceback" not in asking_jservice.service.log.read_text()


def test_a_source_that_is_not_there_is_a_503(make_service: MakeService, quiz: QuizServer) -> None:
    quiz.close()
    client = make_service(QUIZ_SOURCE=quiz.url).start()
    assert refused(client, 1)["saved"] == 0


@pytest.mark.parametrize("kind", ["silent", "dripping"])
def test_a_slow_source_costs_ten_seconds_and_not_more(asking_jservice: Asking, kind: str) -> None:
    client, quiz = asking_jservice.anew(), asking_jservice.source

    def slow(query: dict[str, str]) -> Reply:
        if kind == "silent":
            quiz.closing.wait(12)
        return 200, {"X-Drip": "yes"}, json.dumps([clue(7)] * 10).encode()

    quiz.answers["/api/random"] = in_turn(as_json([clue(1)]), then=slow)
    begun = time.monotonic()
    assert refused(client, 2)["saved"] == 1
    assert time.monotonic() - begun < 15


def test_more_than_asked_is_not_stored(asking_jservice: Asking) -> None:
    client, quiz = asking_jservice.anew(), asking_jservice.source
    quiz.answers["/api/random"] = lambda _: as_json([clue(next(quiz.numbers)) for _ in range(50)])
    post(client, 3)
    assert len(stored(client)) == 3


@on_database("postgresql")
def test_requests_at_once_do_not_store_what_they_all_were_given(make_service: MakeService, quiz: QuizServer) -> None:
    # Every request is given the same questions, until it asks again.
    together = threading.Barrier(10)

    def answer(query: dict[str, str]) -> Reply:
        if len(quiz.calls) <= 10:
            together.wait(10)
            return as_json([clue(1), clue(2)])
        return fresh(quiz)(query)

    quiz.numbers = itertools.count(3)
    quiz.answers["/api/random"] = answer
    service = make_service(QUIZ_SOURCE=quiz.url, WEB_CONCURRENCY=2)
    client = service.start()
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda _: post(service.client(), 2), range(10)))
    assert len({question["question"] for question in stored(client)}) == len(stored(client)) == 20
    assert sorted(answer.get("id", 0) for answer in answers) == list(range(0, 20, 2))


def test_one_service_can_be_the_source_of_another(make_service: MakeService) -> None:
    first = make_service(WEB_CONCURRENCY=1)
    first.start()
    client = make_service(WEB_CONCURRENCY=1, QUIZ_SOURCE=first.url).start()
    post(client, 100)
    assert len(stored(client)) == 100


# The Open Trivia Database


class Trivia:
    """Speaks the Open Trivia Database's protocol over a number of questions, one call in five seconds."""

    def __init__(self, server: QuizServer, size: int = 1000) -> None:
        self.server = server
        self.left = list(range(1, size + 1))
        self.tokens: set[str] = set()
        self.empty = False
        self.token_numbers = itertools.count(1)
        self.too_soon = 0
        server.answers = {"/api.php": self.questions, "/api_token.php": self.token}

    def on_time(self) -> bool:
        times = [moment for moment, _, _ in self.server.calls]
        if len(times) > 1 and times[-1] - times[-2] < INTERVAL:
            self.too_soon += 1
            return False
        return True

    def token(self, query: dict[str, str]) -> Reply:
        if not self.on_time():
            return as_json({"response_code": 5}, 429)
        assert query["command"] == "request"
        token = f"token-{next(self.token_numbers)}"
        self.tokens.add(token)
        return as_json({"response_code": 0, "response_message": "Token Generated Successfully!", "token": token})

    def questions(self, query: dict[str, str]) -> Reply:
        amount = int(query["amount"])
        code = 0
        if not self.on_time():
            code = 5
        elif not 1 <= amount <= 50 or query["encode"] != "url3986":
            code = 2
        elif "token" in query and query["token"] not in self.tokens:
            code = 3
        elif "token" in query and self.empty:
            code, self.empty = 4, False
        elif amount > len(self.left):
            code = 1
        if code:
            return as_json({"response_code": code, "results": []}, 429 if code == 5 else 200)
        given, self.left = self.left[:amount], self.left[amount:]
        return as_json({"response_code": 0, "results": [self.result(number) for number in given]})

    @staticmethod
    def result(number: int) -> dict[str, Any]:
        texts = {"category": "Science: Computers", "question": f"100% of {number} <br> & “é”?", "correct_answer": "<b>"}
        coded = {name: quote(text, safe="") for name, text in texts.items()}
        return {"type": "multiple", "difficulty": "easy", "incorrect_answers": ["no"], **coded}


def test_trivia_comes_with_a_shared_token_and_one_call_in_five_seconds(
    make_service: MakeService, quiz: QuizServer
) -> None:
    trivia = Trivia(quiz)
    service = make_service(QUIZ_SOURCE="opentdb", OPENTDB_URL=quiz.url, WEB_CONCURRENCY=2)
    client = service.start()
    assert post(client, 2) == {}
    with ThreadPoolExecutor(3) as pool:
        requests = [
            pool.submit(service.client().post, "/questions", json={"questions_num": number}) for number in (1, 2, 3)
        ]
    answers = [request.result() for request in requests]
    # Ten seconds have room for one or two turns; who gets none is told so, and when to come again.
    assert {answer.status_code for answer in answers} == {200, 503}
    for answer in answers:
        if answer.status_code == 503:
            assert answer.json()["saved"] == 0
            assert 1 <= int(answer.headers["Retry-After"]) <= INTERVAL + 1
    given = [answer.json()["id"] for answer in answers if answer.status_code == 200]
    assert len(set(given)) == len(given)
    assert trivia.too_soon == 0
    times = [moment for moment, _, _ in quiz.calls]
    assert all(after - before >= INTERVAL for before, after in itertools.pairwise(times))
    assert [path for _, path, _ in quiz.calls].count("/api_token.php") == 1
    assert {query["token"] for _, path, query in quiz.calls if path == "/api.php"} == {"token-1"}
    question = stored(client)[0]
    assert question["question"] == "100% of 1 <br> & “é”?"
    assert (question["answer"], question["category"], question["source"]) == ("<b>", "Science: Computers", "opentdb")
    assert (question["difficulty"], question["external_id"], question["asked_at"]) == ("easy", None, None)


def test_a_hundred_trivia_are_two_calls(asking_trivia: Asking) -> None:
    client, quiz = asking_trivia.anew(), asking_trivia.source
    trivia = Trivia(quiz)
    assert post(client, 100) == {}
    assert quiz.counts() == [50, 50]
    assert trivia.too_soon == 0
    assert len(stored(client)) == 100


@pytest.mark.parametrize("code", [3, 4])
def test_a_token_that_has_run_out_is_replaced(asking_trivia: Asking, code: int) -> None:
    client, quiz = asking_trivia.anew(), asking_trivia.source
    trivia = Trivia(quiz)
    post(client, 1)
    if code == 3:
        trivia.tokens.clear()
    else:
        trivia.empty = True
    wait_for(lambda: time.time() - quiz.calls[-1][0] > INTERVAL + 0.2, 12)
    assert post(client, 3)["question"].startswith("100% of 1 ")
    assert len(stored(client)) == 4
    assert trivia.too_soon == 0


@pytest.mark.parametrize(
    "fault",
    [
        as_json({"response_code": 2, "results": []}),
        as_json({"response_code": 0, "results": None}),
        as_json([]),
        (200, {}, b'{"response_code": 0, "resu'),
        as_json({}, 500),
        as_json({"response_code": 5}, 429, Retry_After="60"),
    ],
    ids=["code 2", "no results", "no object", "half a JSON", "an error", "429 for long"],
)
def test_trivia_on_a_bad_day_is_a_503(asking_trivia: Asking, fault: Reply) -> None:
    client, quiz = asking_trivia.anew(), asking_trivia.source
    quiz.answers = {"/api.php": in_turn(fault)}
    problem = refused(client, 51)  # with so many there is no time for a token, which makes the test short
    assert problem["saved"] == 0
    assert len(quiz.calls) == 1


def test_a_call_too_soon_waits_for_the_next_turn(asking_trivia: Asking) -> None:
    client, quiz = asking_trivia.anew(), asking_trivia.source
    results = [Trivia.result(number) | {"question": html.escape(f"&{number}")} for number in range(50)]
    quiz.answers = {
        "/api.php": in_turn(
            as_json({"response_code": 5}, 429), as_json({"response_code": 0, "results": [None, {}, *results]})
        )
    }
    problem = refused(client, 51)
    assert problem["saved"] == 50
    assert len(quiz.calls) == 2
    assert stored(client)[0]["question"] == "&0"


@pytest.mark.parametrize(
    "setting", [{"QUIZ_SOURCE": "jservice"}, {"OPENTDB_URL": "opentdb.com"}, {"QUIZ_SOURCE": "ftp://a"}]
)
def test_a_faulty_source_keeps_the_service_from_starting(setting: dict[str, str]) -> None:
    from service.config import BadSettings, Settings

    with pytest.raises(BadSettings, match=next(iter(setting))):
        Settings.from_env({"API_PASSWORD": "long enough", **setting})


def test_the_data_has_its_licences_beside_it() -> None:
    text = (Path(builtin.FILE).parent / "LICENCES.md").read_text("utf-8")
    origins = json.loads(builtin.FILE.read_text("utf-8"))["origins"]
    assert all(f"| `{name}` |" in text and origin["licence"] in text for name, origin in origins.items())
