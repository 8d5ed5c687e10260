"""Passwords and e-mails that are the same text in other bytes."""

import base64
import unicodedata
from datetime import UTC, datetime
from uuid import uuid4

import sqlalchemy as sa
from argon2 import PasswordHasher

from service.features.augmentation.models import User
from tests.conftest import MakeService
from tests.support import Client, Service

TASKS = "/api/v1/tasks"
COMPOSED, DECOMPOSED = "caf\u00e9 pass", "cafe\u0301\u00a0pass"


def test_a_password_is_the_same_however_its_characters_are_written(client: Client) -> None:
    for number, (first, second) in enumerate([(COMPOSED, DECOMPOSED), (DECOMPOSED, COMPOSED)]):
        email = f"bob{number}@example.com"
        assert client.post("/registration", json={"email": email, "password": first}).status_code == 201
        assert client.post("/login", json={"email": email, "password": second}).status_code == 200
        assert client.post("/login", json={"email": email, "password": "cafe pass"}).status_code == 401


def test_a_password_that_was_hashed_as_it_came_still_logs_in(shared_service: Service, client: Client) -> None:
    add_user(shared_service, "former@example.com", DECOMPOSED)
    assert client.post("/login", json={"email": "former@example.com", "password": DECOMPOSED}).status_code == 200


def test_an_email_is_the_same_in_any_case_and_form(client: Client) -> None:
    new = {"email": "eve@example.com", "password": "a long password"}
    assert client.post("/registration", json=new).status_code == 201
    for email in ("EVE@Example.com", "\uff45ve@example.com", "eve\uff20example.com"):
        assert client.post("/login", json=new | {"email": email}).status_code == 200
        assert client.post("/registration", json=new | {"email": email}).json()["code"] == "email_taken"


def test_an_account_with_the_exact_old_email_wins(shared_service: Service, client: Client) -> None:
    old = "\uff46rank@example.com"
    add_user(shared_service, old, "the old password")
    assert client.post("/login", json={"email": old, "password": "the old password"}).status_code == 200
    assert client.post("/registration", json={"email": old, "password": "a new password"}).status_code == 409
    new = {"email": "frank@example.com", "password": "a new password"}
    assert client.post("/registration", json=new).status_code == 201
    assert client.post("/login", json=new).status_code == 200
    assert client.post("/login", json={"email": old, "password": "the old password"}).status_code == 200


def add_user(service: Service, email: str, password: str) -> None:
    """Add a user as an earlier version did: with the e-mail and the password as they came."""
    hashed = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1).hash(password)
    row = {"id": str(uuid4()), "email": email, "password": hashed, "created_at": datetime(2026, 1, 1, tzinfo=UTC)}
    engine = sa.create_engine(str(service.settings["DATABASE_URL"]))
    with engine.begin() as connection:
        connection.execute(sa.insert(User).values(**row))
    engine.dispose()


def credentials(username: str, password: str, charset: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{username}:{password}".encode(charset)).decode()}


def test_a_password_that_is_not_ascii_works_in_utf_8_and_in_latin_1(make_service: MakeService) -> None:
    password = "\u00c3\u00a9 d'\u00e9t\u00e9"
    client = make_service(API_PASSWORD=password, WEB_CONCURRENCY=1).start()
    client.auth = None
    for charset in ("utf-8", "latin-1"):
        assert client.get(TASKS, headers=credentials("admin", password, charset)).status_code == 200, charset
    decomposed = credentials("admin", unicodedata.normalize("NFD", password), "utf-8")
    assert client.get(TASKS, headers=decomposed).status_code == 200
    assert client.get(TASKS, headers=credentials("admin", "Ae d'ete", "utf-8")).status_code == 401
    assert client.get(TASKS).headers["WWW-Authenticate"] == 'Basic realm="service", charset="UTF-8"'
