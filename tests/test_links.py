"""Signed links to files of this service's own folder."""

import requests

from service.config import Settings
from service.storage.signed_urls import Download, SignedUrls
from tests.conftest import MakeService
from tests.support import Client, Service, photo, wait_for


def links_of(service: Service) -> SignedUrls:
    """Return links signed as the service signs them: the key follows from its password."""
    return SignedUrls(lambda: Settings(api_password=service.password).signing_key, service.url)


def test_a_link_gives_the_file_without_credentials_whole_or_in_part_until_it_ends(
    client: Client, shared_service: Service
) -> None:
    task = client.task(photo(1))
    key = f"tasks/{task}/{client.show(task)['images'][0]['id']}"
    url = links_of(shared_service).make(key, 5, Download("Grüße.jpg", "image/jpeg", inline=True))
    assert url.endswith("/Gr%C3%BC%C3%9Fe.jpg")
    whole = requests.get(url, timeout=10)
    assert (whole.status_code, whole.content, whole.headers["Content-Type"]) == (200, photo(1), "image/jpeg")
    assert whole.headers["Content-Disposition"].startswith("inline; filename=")
    assert whole.headers["Content-Disposition"].endswith("; filename*=UTF-8''Gr%C3%BC%C3%9Fe.jpg")
    assert whole.headers["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in whole.headers["Content-Security-Policy"]
    assert 0 < int(whole.headers["Cache-Control"].removeprefix("private, max-age=")) < 5
    part = requests.get(url, headers={"Range": "bytes=10-19"}, timeout=10)
    assert (part.status_code, part.content) == (206, photo(1)[10:20])
    assert requests.get(url, headers={"If-None-Match": whole.headers["ETag"]}, timeout=10).status_code == 304
    assert requests.get(url.replace("/files/", "/files/A"), timeout=10).status_code == 404
    wait_for(lambda: requests.get(url, timeout=10).status_code == 403, 10, "the end of the link")
    ended = requests.get(url, timeout=10)
    assert ended.headers["Content-Type"] == "application/problem+json"
    assert "expired" in ended.json()["detail"]


def test_a_link_to_a_file_that_is_gone_is_404(client: Client, shared_service: Service) -> None:
    task = client.task(photo(1))
    key = f"tasks/{task}/{client.show(task)['images'][0]['id']}"
    url = links_of(shared_service).make(key, 60, Download("a.jpg"))
    assert requests.get(url, timeout=10).headers["Content-Disposition"] == 'attachment; filename="a.jpg"'
    client.delete(f"/api/v1/tasks/{task}")
    assert requests.get(url, timeout=10).status_code == 404
    assert requests.get(client.url + "/files/any/a.jpg", timeout=10).status_code == 404


def test_services_with_one_secret_key_read_each_others_cursors(make_service: MakeService) -> None:
    services = [make_service(SECRET_KEY=key, WEB_CONCURRENCY=1) for key in ("one", "one", "two")]
    clients = [service.start() for service in services]
    clients[0].task()
    clients[0].task()
    cursor = clients[0].get("/api/v1/tasks?limit=1").json()["next"]
    assert [client.get("/api/v1/tasks", params={"cursor": cursor}).status_code for client in clients] == [200, 200, 422]
