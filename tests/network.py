"""What stands between a service and the world in a company: a forward proxy, and TLS under an authority of its own."""

import http.client
import select
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

SINGLE_HOP = ("proxy-connection", "connection", "transfer-encoding")


class ForwardProxy(ThreadingHTTPServer):
    """A proxy that knows some hosts, each by the local port that answers for it. `seen` lists method and host."""

    daemon_threads = True

    def __init__(self, hosts: Mapping[str, int]) -> None:
        super().__init__(("127.0.0.1", 0), _Proxied)
        self.hosts = hosts
        self.seen: list[tuple[str, str]] = []
        self.url = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    def __exit__(self, *_: Any) -> None:
        self.shutdown()
        self.server_close()


class _Proxied(BaseHTTPRequestHandler):
    server: ForwardProxy
    protocol_version = "HTTP/1.1"

    def do_CONNECT(self) -> None:
        host = self.path.rpartition(":")[0]
        self.server.seen.append(("CONNECT", host))
        self.close_connection = True
        with socket.create_connection(("127.0.0.1", self.server.hosts[host])) as target:
            self.send_response(200)
            self.end_headers()
            pass_on(self.connection, target)

    def forward(self) -> None:
        parts = urlsplit(self.path)
        self.server.seen.append((self.command, parts.hostname or ""))
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        connection = http.client.HTTPConnection("127.0.0.1", self.server.hosts[parts.hostname or ""], timeout=20)
        sent = {name: value for name, value in self.headers.items() if name.lower() not in SINGLE_HOP}
        connection.request(self.command, f"{parts.path}?{parts.query}" if parts.query else parts.path, body, sent)
        answer = connection.getresponse()
        content = answer.read()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in (*SINGLE_HOP, "content-length"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
        connection.close()

    do_GET = do_POST = forward  # noqa: N815 - the names are http.server's

    def log_message(self, *_: Any) -> None:
        pass


def pass_on(one: socket.socket, other: socket.socket) -> None:
    """Pass bytes on in both directions until one end closes."""
    with suppress(OSError):
        while True:
            pending = isinstance(one, ssl.SSLSocket) and one.pending()
            ready = [one] if pending else select.select([one, other], [], [], 20)[0]
            for end in ready:
                data = end.recv(65_536)
                if not data:
                    return
                (other if end is one else one).sendall(data)


@contextmanager
def tls_front(target: int, certificate: Path) -> Iterator[int]:
    """Give a port that speaks TLS with this certificate and key before a local port that does not."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(client: socket.socket) -> None:
        with (
            suppress(OSError),
            context.wrap_socket(client, server_side=True) as secured,
            socket.create_connection(("127.0.0.1", target)) as server,
        ):
            pass_on(secured, server)

    def accept() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def make_certificate(folder: Path, *names: str) -> tuple[Path, Path]:
    """Return a certificate for these names, its own authority, and a file with it and its key."""
    certificate, both = folder / "authority.pem", folder / "certificate-and-key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    listed = ",".join(f"DNS:{name}" for name in names)
    command += ["-days", "2", "-subj", f"/CN={names[0]}", "-addext", f"subjectAltName={listed}"]
    subprocess.run([*command, "-keyout", both, "-out", certificate], check=True, capture_output=True)
    with both.open("ab") as file:
        file.write(certificate.read_bytes())
    return certificate, both
