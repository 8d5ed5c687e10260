"""The OpenAPI document is whole, and the running service does what it says."""

import base64
import os
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests
from flask import Flask

from service import __version__
from service.http.openapi_document import document, is_call
from tests.support import Service, application, photo

if TYPE_CHECKING:
    import schemathesis

EXAMPLES = int(os.environ.get("EXAMPLES", "3"))
"""Requests made up for each operation."""
HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    folder = tmp_path_factory.mktemp("app")
    with application(folder) as made:
        yield made


@pytest.fixture(scope="module")
def described(app: Flask) -> dict[str, Any]:
    with app.app_context():
        found: dict[str, Any] = document(app)
    return found


def validate(schema: dict[str, Any], example: Any) -> None:
    """Raise ValidationError where an example is none of its schema."""
    from jsonschema import Draft202012Validator  # it takes a second, which no other test should wait for

    Draft202012Validator(schema).validate(example)


def operations(described: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def media(operation: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Give the bodies that are JSON or a form, of the request and of the answers of success, with their places."""
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        if kind in ("application/json", "multipart/form-data"):
            yield f"request {kind}", content
    for status, answer in operation["responses"].items():
        if status < "3" and "application/json" in answer.get("content", {}):
            yield f"answer {status}", answer["content"]["application/json"]


# --- what it says ------------------------------------------------------------------------------------------------


def test_the_document_is_openapi_3_1(described: dict[str, Any]) -> None:
    assert described["openapi"].startswith("3.1")
    assert described["info"]["version"] == __version__
    assert described["tags"][0]["name"] == "faces"
    from openapi_spec_validator import OpenAPIV31SpecValidator

    OpenAPIV31SpecValidator(described).validate()


def test_every_route_is_described_with_parameters_answers_and_credentials(
    app: Flask, described: dict[str, Any]
) -> None:
    found = dict(operations(described))
    schemes = described["components"]["securitySchemes"]
    routes = set()
    assert "GET /tasks" not in found and "GET /docs" not in found
    for rule in (rule for rule in app.url_map.iter_rules() if not rule.alias):
        if not is_call(app.view_functions[rule.endpoint]):
            continue
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
            path = re.sub(r"<(?:[a-z]+:)?([a-z_]+)>", r"{\1}", rule.rule)
            name = f"{method} {path}"
            routes.add(name)
            operation = found[name]
            placed = {parameter["name"] for parameter in operation["parameters"] if parameter["in"] == "path"}
            assert placed == rule.arguments, name
            assert operation["summary"].endswith("."), name
            assert operation["operationId"], name
            assert any(status < "4" for status in operation["responses"]), name
            assert {"400", "500"} <= set(operation["responses"]), name
            for needed in operation["security"]:
                assert set(needed) <= set(schemes), name
                assert {"401", "429"} <= set(operation["responses"]), name
            if hasattr(app.view_functions[rule.endpoint], "idempotent"):
                assert "Idempotency-Key" in {parameter["name"] for parameter in operation["parameters"]}, name
                success = next(answer for status, answer in operation["responses"].items() if status < "3")
                assert "Idempotency-Replayed" in success["headers"], name
    assert routes == set(found)
    ids = [operation["operationId"] for _, operation in operations(described)]
    assert sorted(set(ids)) == sorted(ids)


def test_every_body_and_every_json_answer_has_an_example_that_fits_its_schema(described: dict[str, Any]) -> None:
    without, shown = [], set()
    for name, operation in operations(described):
        for place, content in media(operation):
            if "example" not in content:
                without.append(f"{name} {place}")
                continue
            schema = content["schema"] | {"components": described["components"]}
            validate(schema, content["example"])
            shown |= set(re.findall(r"#/components/schemas/(\w+)", str(content["schema"])))
    assert without == []
    inner = set(re.findall(r"#/components/schemas/(\w+)", str(described["components"]["schemas"])))
    assert set(described["components"]["schemas"]) == shown | inner | {"Problem"}


def test_every_example_of_a_schema_fits_it(described: dict[str, Any]) -> None:
    for schema in described["components"]["schemas"].values():
        for example in schema.get("examples", ()):
            validate(schema | {"components": described["components"]}, example)


def test_every_refusal_shows_one_of_its_own_status(described: dict[str, Any]) -> None:
    components = described["components"]
    problem = components["schemas"]["Problem"]
    for name, operation in operations(described):
        for status, given in operation["responses"].items():
            if status >= "400":
                answer = components["responses"][given["$ref"].rpartition("/")[2]]
                example = answer["content"]["application/problem+json"]["example"]
                validate(problem, example)
                assert example["status"] == int(status), name
                assert ("errors" in example) == (status == "422"), name


def test_summaries_are_plain_and_every_group_and_parameter_is_explained(described: dict[str, Any]) -> None:
    tags = {tag["name"]: tag["description"] for tag in described["tags"]}
    for name, operation in operations(described):
        assert "`" not in operation["summary"], name
        assert all(tags[tag] for tag in operation["tags"]), name
        assert all(parameter["description"] for parameter in operation["parameters"]), name


def test_forms_ask_for_files_and_fill_in_no_null(app: Flask, described: dict[str, Any]) -> None:
    files = Counter[str]()
    for name, operation in operations(described):
        form = operation.get("requestBody", {}).get("content", {}).get("multipart/form-data", {"schema": {}})
        for part, shape in form["schema"].get("properties", {}).items():
            assert "anyOf" not in shape, f"{name} {part}"
            assert shape.get("default", "") is not None, f"{name} {part}"
            files[name] += shape.get("items", shape).get("format") == "binary"
        for parameter in operation["parameters"]:
            assert "anyOf" not in parameter["schema"], f"{name} {parameter['name']}"
    forms = [view for view in app.view_functions.values() if "multipart/form-data" in view.described.content]  # type: ignore[attr-defined]
    assert files.total() == len(forms) > 0
    assert set(files.values()) == {1}


def test_every_answer_names_the_headers_that_clients_rely_on(described: dict[str, Any]) -> None:
    components = described["components"]
    for name, operation in operations(described):
        for status, given in operation["responses"].items():
            answer = components["responses"][given["$ref"].rpartition("/")[2]] if "$ref" in given else given
            assert "X-Request-Id" in answer["headers"], f"{name} {status}"
            for expected in {"302": "Location", "401": "WWW-Authenticate", "429": "Retry-After"}.get(
                status, ""
            ).split():
                assert expected in answer["headers"], f"{name} {status}"
        if "304" in operation["responses"]:
            assert "If-None-Match" in {parameter["name"] for parameter in operation["parameters"]}, name
            assert "ETag" in operation["responses"]["200"]["headers"], name


# --- what it does ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, migrated: Path) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("openapi")
    shutil.copy(migrated, folder / "service.db")
    service = Service(folder, FACE_ENGINE="local", WORKERS=1, MAX_FAILED_TRIES=1_000_000)
    service.start()
    yield service
    service.kill()


@pytest.fixture(scope="module")
def known(running: Service) -> dict[str, Any]:
    """Return ids of what there is, by the names of their parameters, so that not every path leads to nothing."""
    client = running.client()
    full, empty = client.task(photo(1), photo(2)), client.task()
    user = client.post("/users", json={"name": "Ada"}).json()
    sound = (HERE.parent / "postman" / "tone.wav").read_bytes()
    form = {"user": user["id"], "token": user["token"]}
    recording = client.post("/records", data=form, files={"audio": ("a.wav", sound)}).json()
    account = client.post("/registration", json={"email": "ada@example.com", "password": "long enough"}).json()
    bearer = {"Authorization": f"Bearer {account['access_token']}"}
    upload = requests.post(f"{client.url}/upload", files={"files": ("a.jpg", photo(1))}, headers=bearer, timeout=60)
    file = client.post("/api/files/", files={"file": ("a.jpg", photo(1))}).json()["file_ids"][0]
    order = {"file_ids": [file], "algorithm": "rotate", "params": {"direction": "clockwise"}}
    assert client.post("/api/image-processing/", json=order).status_code == 200
    return {
        "bearer": [bearer],
        "user_id": [account["user_id"]],
        "file_id": [file],
        "task_id": [full, empty, upload.json()["task_id"]],
        "image_id": [image["id"] for image in client.show(full)["images"]],
        "id": [recording["id"]],
        "user": [user["id"]],
        "name": ["docs.js", "swagger-ui.css"],
    }


def basic_header(running: Service) -> str:
    return "Basic " + base64.b64encode(f"admin:{running.password}".encode()).decode()


def refilled(case: Any, known: dict[str, Any]) -> Any:
    """Let three of four requests be about something that is there; the same ones each time."""
    for values in (case.path_parameters, case.query):
        for name, value in (values or {}).items():
            if name in known and sum(repr(value).encode()) % 4:
                values[name] = (
                    1 if isinstance(value, int) else known[name][sum(repr(value).encode()) % len(known[name])]
                )
    return case


OUTSIDE = ("not_a_server_error", "status_code_conformance", "content_type_conformance")
OUTSIDE += ("response_headers_conformance", "response_schema_conformance", "unsupported_method")


@dataclass
class Tried:
    """What was sent and answered, and what was wrong with it."""

    known: dict[str, Any]
    basic: dict[str, str]
    checks: list[Any]
    answers: Counter[int] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    def attempt(self, operation: Any, mode: "schemathesis.GenerationMode") -> None:
        """Send requests to one operation, right ones or wrong ones."""
        import hypothesis

        settings = hypothesis.settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[hypothesis.Phase.generate],
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        bearer = {"bearer": []} in operation.definition.raw["security"]
        headers = self.known["bearer"][0] if bearer else self.basic

        def send(case: Any) -> None:
            answer = refilled(case, self.known).call(headers=headers, timeout=30)
            self.answers[answer.status_code] += 1
            case.validate_response(answer, checks=self.checks)

        try:
            settings(hypothesis.given(case=operation.as_strategy(generation_mode=mode))(send))()
        except hypothesis.errors.Unsatisfiable:
            pass  # nothing wrong can be sent here
        except (Exception, BaseExceptionGroup) as fault:  # noqa: BLE001 - all faults are shown together
            self.faults.append(f"{operation.label} {mode}: {fault!r} {getattr(fault, 'exceptions', '')}"[:3000])


@pytest.mark.timeout(120 + 20 * EXAMPLES)
def test_whatever_is_sent_the_answers_are_in_the_document(running: Service, known: dict[str, Any]) -> None:
    """Requests are made up from the document, right ones and wrong ones, in all places; always the same ones."""
    import schemathesis  # it takes seconds, which no other test should wait for
    from schemathesis.checks import load_all_checks

    load_all_checks()
    chosen = [check for check in schemathesis.checks.CHECKS.get_all() if check.__name__ in OUTSIDE]
    assert len(chosen) == len(OUTSIDE)
    tried = Tried(known, {"Authorization": basic_header(running)}, chosen)
    for result in schemathesis.openapi.from_url(f"{running.url}/openapi.json").get_all_operations():
        for mode in (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE):
            tried.attempt(result.ok(), mode)
    print(f"{tried.answers.total()} requests: {dict(sorted(tried.answers.items()))}")
    assert not tried.faults, "\n\n".join(tried.faults)
    assert tried.answers.total() > EXAMPLES * 20
    assert {200, 201, 404, 422} <= set(tried.answers)
