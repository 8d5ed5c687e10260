"""The sample for nginx, docs/nginx.conf, with a real nginx before a real service."""

import http.client
import io
import json
import os
import random
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import requests
from PIL import Image

from tests.support import ROOT, Client, Service, free_port, photo, silence, wait_for

SAMPLE = ROOT / "docs" / "nginx.conf"
NGINX = shutil.which("nginx", path=f"{os.environ['PATH']}{os.pathsep}/usr/sbin")
NAME = "media.example.com"

pytestmark = pytest.mark.skipif(
    not NGINX and not os.environ.get("CI"), reason="nginx is not installed: `apt-get install nginx-light`"
)


class Front(NamedTuple):
    """nginx's two ports, its certificate, and the service behind it."""

    http: int
    https: int
    certificate: Path
    service: Service

    def client(self) -> Client:
        """Return a client that goes through nginx and checks its certificate."""
        client = Client(f"https://127.0.0.1:{self.https}", self.service.password)
        client.verify = str(self.certificate)
        return client


def adapted(front: Front, key: Path) -> str:
    """Return the sample with ports and files of this test in the place of its own, and nothing else changed."""
    text = SAMPLE.read_text("utf-8")
    changes = {
        "listen 80;": f"listen 127.0.0.1:{front.http};",
        "listen 443 ssl http2;": f"listen 127.0.0.1:{front.https} ssl http2;",
        "listen [::]:80;": "",
        "listen [::]:443 ssl http2;": "",
        "/etc/ssl/media.example.com.crt": str(front.certificate),
        "/etc/ssl/media.example.com.pem": str(key),
        "server 127.0.0.1:8000;": f"server 127.0.0.1:{front.service.settings['PORT']};",
    }
    for sample, own in changes.items():
        assert text.count(sample) == 1, sample
        text = text.replace(sample, own)
    return text


def configuration(front: Front, key: Path, folder: Path) -> Path:
    """Write what stands around the sample: everything in one folder, nobody else's nginx is touched."""
    (folder / "service.conf").write_text(adapted(front, key), "utf-8")
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    folders = "\n".join(f"{kind}_temp_path {folder / kind};" for kind in kinds)
    path = folder / "nginx.conf"
    path.write_text(
        f"{'user root;' if os.geteuid() == 0 else ''}\ndaemon off;\npid {folder / 'pid'};\n"
        f"error_log {folder / 'error.log'};\nevents {{}}\n"
        f"http {{\naccess_log off;\n{folders}\ninclude {folder / 'service.conf'};\n}}\n"
    )
    return path


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory, migrated: Path) -> Iterator[Front]:
    assert NGINX, "nginx is not installed, and CI must not leave this out"
    folder = tmp_path_factory.mktemp("nginx")
    certificate, key = folder / "certificate", folder / "its-key"
    names = f"subjectAltName=DNS:{NAME},IP:127.0.0.1"
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    described = ["-days", "2", "-subj", f"/CN={NAME}", "-addext", names, "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*made, *described], check=True, capture_output=True)
    shutil.copy(migrated, folder / "service.db")
    settings = {"PUBLIC_URL": f"https://{NAME}", "TRUSTED_PROXIES": 1, "FACE_ENGINE": "local", "WEB_CONCURRENCY": 1}
    front = Front(free_port(), free_port(), certificate, Service(folder, **settings))
    front.service.start()
    path = configuration(front, key, folder)
    with subprocess.Popen([NGINX, "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(path)]) as nginx:
        try:

            def answers() -> bool:
                assert nginx.poll() is None, (folder / "error.log").read_text()
                try:
                    return front.client().get("/healthz").ok
                except requests.ConnectionError:
                    return False

            wait_for(answers, 10, "nginx")
            yield front
        finally:
            nginx.terminate()
            front.service.kill()


def raw(front: Front, method: str, path: str, headers: dict[str, object], source: str) -> tuple[int, dict, bytes]:
    """Send a request without a body from another address of this machine."""
    trusted = ssl.create_default_context(cafile=str(front.certificate))
    connection = http.client.HTTPSConnection(
        "127.0.0.1", front.https, timeout=20, context=trusted, source_address=(source, 0)
    )
    try:
        connection.putrequest(method, path)
        for name, value in headers.items():
            connection.putheader(name, str(value))
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


def test_a_photo_of_20_mb_goes_through_and_comes_back(front: Front) -> None:
    client = front.client()
    side = 2_580
    file = io.BytesIO()
    Image.frombytes("RGB", (side, side), random.Random(1).randbytes(side * side * 3)).save(
        file, "PNG", compress_level=0
    )
    large = file.getvalue()
    assert 19_900_000 < len(large) < 20_000_000
    task = client.task()
    images, png = f"/api/v1/tasks/{task}/images", {"Content-Type": "image/png"}
    answer = client.post(images, data=large, headers=png)
    assert answer.status_code == 201, answer.text
    (image,) = [image["id"] for image in client.show(task)["images"]]
    got = client.get(f"{images}/{image}/content")
    assert got.content == large
    assert got.headers["Strict-Transport-Security"]

    beyond = client.post(
        f"/api/v1/tasks/{task}/images", data=large + bytes(100_000), headers={"Content-Type": "image/png"}
    )
    assert beyond.status_code == 413
    assert beyond.headers["Content-Type"] == "application/problem+json"
    assert "too large" in beyond.json()["detail"]


def test_what_nginx_itself_refuses_is_a_problem_that_says_what_to_do(front: Front) -> None:
    status, headers, body = raw(
        front, "POST", "/api/v1/tasks", {"Content-Type": "image/png", "Content-Length": 300_000_000}, "127.0.0.1"
    )
    assert status == 413
    assert headers["Content-Type"] == "application/problem+json"
    assert headers["Strict-Transport-Security"]
    problem = json.loads(body)
    assert problem["status"] == 413
    assert "Send fewer files" in problem["detail"]


def test_the_clients_address_is_in_the_log_and_not_one_that_it_makes_up(front: Front) -> None:
    made_up = {"X-Forwarded-For": "6.6.6.6", "X-Forwarded-Host": "evil.example", "X-Request-Id": "through-nginx"}
    assert raw(front, "GET", "/healthz", made_up, "127.0.0.9")[0] == 200
    line = wait_for(
        lambda: [line for line in front.service.log.read_text().splitlines() if "through-nginx" in line], what="a line"
    )[0]
    assert "address=127.0.0.9" in line


def test_links_begin_with_the_public_address_and_lead_through_nginx(front: Front) -> None:
    client = front.client()
    user = client.post("/users", json={"name": "Ada"}).json()
    fields = {"user": user["id"], "token": user["token"]}
    answer = client.post("/records", data=fields, files={"audio": ("a.wav", silence())})
    assert answer.status_code == 201, answer.text
    url: str = answer.json()["url"]
    assert url.startswith(f"https://{NAME}/record?")
    got = client.get(url.removeprefix(f"https://{NAME}"))
    assert got.headers["Content-Type"] == "audio/mpeg"


def test_plain_http_is_sent_on_to_https(front: Front) -> None:
    answer = requests.get(
        f"http://127.0.0.1:{front.http}/api/v1/tasks?limit=1",
        headers={"Host": NAME},
        allow_redirects=False,
        timeout=10,
    )
    assert answer.status_code == 301
    assert answer.headers["Location"] == f"https://{NAME}/api/v1/tasks?limit=1"


def test_a_service_that_is_gone_is_a_503_and_its_return_is_seen(front: Front) -> None:
    client = front.client()
    front.service.stop()
    away = client.get("/api/v1/tasks")
    assert (away.status_code, away.headers["Retry-After"]) == (503, "5")
    assert away.headers["Content-Type"] == "application/problem+json"
    assert "Try again" in away.json()["detail"]
    front.service.start()
    wait_for(lambda: client.get("/api/v1/tasks").status_code == 200, 10, "the service behind nginx")
    assert client.run(photo(1))["status"] == "completed"
