"""Outgoing calls in a network with a proxy and an authority of its own."""

import io
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from devtools.facecloud_emulator.app import Emulator
from devtools.facecloud_emulator.server import EmulatorServer
from service.features.faces.engines.engine import Detection
from service.features.faces.engines.facecloud import FaceCloud
from service.features.questions.http_source import JSONClient
from service.features.questions.source import SourceFailed
from service.http import outbound
from service.jobs.operation import Failure, Unserved
from tests.network import ForwardProxy, make_certificate, tls_front
from tests.object_store import ObjectStore
from tests.support import photo
from tests.test_object_store import storage_at

FACECLOUD, QUIZ, STORE = "facecloud.example", "quiz.example", "store.example"
FACE = Detection(1, 2, 30, 40, "male", 20.0, 0.9, age_low=8.3, age_high=31.7)
NOBODY = "http://127.0.0.1:9"
NAMES = ("http_proxy", "https_proxy", "no_proxy", "all_proxy")
BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "AWS_CA_BUNDLE")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Give an environment that says nothing of the network."""
    for name in (*NAMES, *(name.upper() for name in NAMES), *BUNDLES):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.fixture
def server() -> Iterator[EmulatorServer]:
    """Give a FaceCloud that finds one face."""
    emulator = Emulator(decode=False)
    emulator.faces = [FACE]
    with EmulatorServer(emulator) as server:
        yield server


@pytest.fixture
def proxy(server: EmulatorServer) -> Iterator[ForwardProxy]:
    """Give a proxy that knows FaceCloud and a source of questions by names that only it resolves."""
    with ForwardProxy({FACECLOUD: server.port, QUIZ: server.port}) as proxy:
        yield proxy


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """Give a certificate that no list of public authorities has, and a file with it and its key."""
    return make_certificate(tmp_path, "localhost", FACECLOUD, QUIZ, STORE)


@pytest.fixture
def connect() -> Iterator[Callable[[str], FaceCloud]]:
    """Give a function that makes clients of FaceCloud."""
    made: list[FaceCloud] = []

    def connect(url: str) -> FaceCloud:
        made.append(FaceCloud(url, "any@example.com", secrets.token_hex(6)))
        return made[-1]

    yield connect
    for client in made:
        client.close()


def ask(url: str) -> object:
    """Return the JSON at an address, as a source of questions is asked."""
    return JSONClient(url).get("/api/v1/openapi.json", {}, time.monotonic() + 10)


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_facecloud_is_called_through_the_proxy(
    connect: Callable[[str], FaceCloud], proxy: ForwardProxy, environment: pytest.MonkeyPatch, name: str
) -> None:
    environment.setenv(name, proxy.url)
    assert connect(f"http://{FACECLOUD}").detect(photo(1)) == [FACE]
    assert proxy.seen == [("POST", FACECLOUD)] * 2


@pytest.mark.parametrize("bundle", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"])
def test_facecloud_is_called_through_a_tunnel_and_its_certificate_checked(
    connect: Callable[[str], FaceCloud],
    server: EmulatorServer,
    certificate: tuple[Path, Path],
    environment: pytest.MonkeyPatch,
    bundle: str,
) -> None:
    authority, key = certificate
    with tls_front(server.port, key) as port, ForwardProxy({FACECLOUD: port}) as proxy:
        environment.setenv("HTTPS_PROXY", proxy.url)
        with pytest.raises(Failure, match="secure connection"):
            connect(f"https://{FACECLOUD}").detect(photo(1))
        environment.setenv(bundle, str(authority))
        assert connect(f"https://{FACECLOUD}").detect(photo(1)) == [FACE]
        assert set(proxy.seen) == {("CONNECT", FACECLOUD)}


@pytest.mark.parametrize("exempt", ["127.0.0.1", "example.com,127.0.0.0/8", "*"])
def test_what_no_proxy_names_is_called_directly(
    connect: Callable[[str], FaceCloud], server: EmulatorServer, environment: pytest.MonkeyPatch, exempt: str
) -> None:
    environment.setenv("HTTP_PROXY", NOBODY)
    environment.setenv("NO_PROXY", exempt)
    assert connect(server.url).detect(photo(1)) == [FACE]
    assert ask(server.url)


def test_a_proxy_that_is_gone_is_told_as_such_and_not_blamed_on_the_image(
    connect: Callable[[str], FaceCloud], server: EmulatorServer, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("HTTP_PROXY", NOBODY)
    with pytest.raises(Failure, match="HTTP_PROXY") as caught:
        connect(server.url).detect(photo(1))
    assert isinstance(caught.value, Unserved)


def test_an_account_for_the_host_in_netrc_does_not_replace_the_token(
    connect: Callable[[str], FaceCloud], server: EmulatorServer, environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine 127.0.0.1 login somebody password {secrets.token_hex(6)}\n")
    environment.setenv("NETRC", str(netrc))
    assert connect(server.url).detect(photo(1)) == [FACE]


def test_questions_are_fetched_through_the_proxy(proxy: ForwardProxy, environment: pytest.MonkeyPatch) -> None:
    environment.setenv("HTTP_PROXY", proxy.url)
    assert ask(f"http://{QUIZ}")
    assert proxy.seen == [("GET", QUIZ)]


@pytest.mark.parametrize("bundle", ["REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"])
def test_a_source_of_questions_may_have_an_authority_of_its_own(
    server: EmulatorServer, certificate: tuple[Path, Path], environment: pytest.MonkeyPatch, bundle: str
) -> None:
    authority, key = certificate
    with tls_front(server.port, key) as port:
        with pytest.raises(SourceFailed):
            ask(f"https://localhost:{port}")
        environment.setenv(bundle, str(authority))
        assert ask(f"https://localhost:{port}")


@pytest.mark.parametrize("bundle", ["AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"])
def test_the_object_store_is_reached_through_the_proxy_and_under_an_own_authority(
    object_store: ObjectStore, certificate: tuple[Path, Path], environment: pytest.MonkeyPatch, bundle: str
) -> None:
    authority, key = certificate
    bucket = object_store.bucket()
    with tls_front(object_store.port, key) as port, ForwardProxy({STORE: port}) as proxy:
        environment.setenv("HTTPS_PROXY", proxy.url)
        environment.setenv(bundle, str(authority))
        storage = storage_at(object_store, f"https://{STORE}", bucket, timeout=10)
        storage.save("tasks/1/photo", io.BytesIO(b"bytes"))
        assert storage.read("tasks/1/photo") == b"bytes"
        assert set(proxy.seen) == {("CONNECT", STORE)}


def test_webhooks_keep_to_the_addresses_that_were_checked(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("HTTP_PROXY", NOBODY)

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as receiver:
        threading.Thread(target=receiver.serve_forever, args=(0.02,), daemon=True).start()
        url = f"http://127.0.0.1:{receiver.server_port}/hook"
        assert outbound.post(url, b"{}", {}, private_allowed=True).status == 204
        receiver.shutdown()
