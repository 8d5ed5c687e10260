"""Pages of other origins: what they may call, and what they may show."""

import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import requests

from tests.browser import chromium
from tests.conftest import MakeService
from tests.support import Client, photo

TASKS = "/api/v1/tasks"
TONE = Path(__file__).parent.parent / "postman" / "tone.wav"
ORIGIN = "https://photos.example.com"


def test_pages_of_named_origins_may_call_the_api(make_service: MakeService) -> None:
    client = make_service(CORS_ORIGINS=f"{ORIGIN}, http://localhost:3000", WEB_CONCURRENCY=1).start()
    asked = {"Origin": ORIGIN, "Access-Control-Request-Method": "DELETE", "Access-Control-Request-Headers": "if-match"}
    for path in (TASKS, "/upload", "/images"):
        preflight = requests.options(client.url + path, headers=asked, timeout=20)
        assert preflight.ok, path
        assert preflight.headers["Access-Control-Allow-Origin"] == ORIGIN
        assert preflight.headers["Access-Control-Allow-Credentials"] == "true"
        assert "DELETE" in preflight.headers["Access-Control-Allow-Methods"]
        assert preflight.headers["Access-Control-Allow-Headers"].lower() == "if-match"
    for headers in ({"Origin": ORIGIN}, {"Origin": ORIGIN, "Sec-Fetch-Site": "cross-site"}):
        made = client.post(TASKS, json={}, headers=headers)
        assert (made.status_code, made.headers["Access-Control-Allow-Origin"]) == (201, ORIGIN)
        assert "Location" in made.headers["Access-Control-Expose-Headers"]
    refused = client.get("/api/v1/tasks/unknown", headers={"Origin": ORIGIN})
    assert (refused.status_code, refused.headers["Access-Control-Allow-Origin"]) == (404, ORIGIN)
    other = client.post(TASKS, json={}, headers={"Origin": "https://other.example", "Sec-Fetch-Site": "cross-site"})
    assert "Access-Control-Allow-Origin" not in other.headers
    told = other.json()
    assert (other.status_code, told["code"]) == (403, "cross_site_request")
    assert "CORS_ORIGINS" in told["detail"]


def test_without_the_setting_no_page_of_another_origin_may_call_the_api(client: Client) -> None:
    answer = client.post(TASKS, json={}, headers={"Origin": ORIGIN})
    assert answer.status_code == 403
    assert "CORS_ORIGINS" in answer.json()["detail"]
    assert "Access-Control-Allow-Origin" not in answer.headers


def test_links_that_are_made_to_be_shown_may_be_shown_by_pages_of_any_origin(client: Client) -> None:
    image = client.post("/images", data={"user_id": "9"}, files={"image": ("a.jpg", photo(1))}).json()
    login = {"email": "ada@example.com", "password": "a long password"}
    token = client.post("/registration", json=login).json()["access_token"]
    bearer = {"headers": {"Authorization": f"Bearer {token}"}, "timeout": 20}
    sent = requests.post(f"{client.url}/upload", files={"files": ("a.jpg", photo(1))}, **bearer).json()["task_id"]
    link = requests.get(f"{client.url}/status/{sent}", **bearer).json()["images"][0]["img_link"]
    for address in (image["original"]["url"], link, recording(client)):
        answer = requests.get(address, timeout=20)
        assert (answer.status_code, answer.headers["Cross-Origin-Resource-Policy"]) == (200, "cross-origin")
    content = client.show(client.task(photo(1)))
    private = client.get(f"{TASKS}/{content['id']}/images/{content['images'][0]['id']}/content")
    assert private.headers["Cross-Origin-Resource-Policy"] == "same-origin"


def test_chromium_shows_the_links_on_a_page_of_another_origin(client: Client, tmp_path: Path) -> None:
    image = client.post("/images", data={"user_id": "10"}, files={"image": ("a.jpg", photo(1))}).json()
    record = recording(client)
    html = (
        f'<!doctype html><img src="{image["original"]["url"]}">'
        f'<audio preload="auto" src="{record}"></audio><video preload="auto" src="{record}"></video>'
    )
    (tmp_path / "index.html").write_text(html)
    handler = partial(QuietHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server, chromium() as browser:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        page = browser.new_page()
        page.goto(f"http://localhost:{server.server_port}/")
        page.wait_for_function("document.images[0].naturalWidth > 0")
        page.wait_for_function("document.querySelector('audio').duration > 0")
        page.wait_for_function("document.querySelector('video').duration > 0")
        server.shutdown()


class QuietHandler(SimpleHTTPRequestHandler):
    """Serves a folder, and writes no line for each request."""

    def log_message(self, *_: object) -> None:
        pass


def recording(client: Client) -> str:
    """Return the link to a new recording's MP3."""
    speaker = client.post("/users", json={"name": "Ada"}).json()
    fields = {"user": speaker["id"], "token": speaker["token"]}
    url: str = client.post("/records", data=fields, files={"audio": ("a.wav", TONE.read_bytes())}).json()["url"]
    return url
