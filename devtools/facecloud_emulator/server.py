"""Runs the emulator: a lean HTTP/1.1 server, since benchmarks share their cores with it."""

import io
import logging
import signal
import socket
import socketserver
import struct
import sys
import threading
import time
from http import HTTPStatus
from types import TracebackType
from typing import IO, Any, NoReturn, Self

from werkzeug.wrappers import Request

from devtools.facecloud_emulator.app import Emulator
from devtools.facecloud_emulator.faults import Dropped

log = logging.getLogger(__name__)

LARGEST_BODY = 128 * 2**20
RESET = struct.pack("ii", 1, 0)  # SO_LINGER of no time: close() sends RST instead of FIN


class _Connection(socketserver.BaseRequestHandler):
    """One kept-alive connection, in a thread of its own."""

    server: "_Server"
    request: socket.socket

    def handle(self) -> None:
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.server.connections.add(self.request)
        self.server.accepted += 1
        try:
            with self.request.makefile("rb") as reader:
                while self._serve(reader):
                    pass
        except Dropped:
            self.request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            self.request.close()
        except (OSError, ValueError) as fault:
            log.debug("connection ended: %r", fault)
        finally:
            self.server.connections.discard(self.request)

    def _serve(self, reader: IO[bytes]) -> bool:
        """Answer one request and return whether the connection goes on."""
        environ = self._read(reader)
        if environ is None:
            return False
        goes_on: bool = environ.get("HTTP_CONNECTION", "").lower() != "close"
        try:
            answer = self.server.app.answer(Request(environ))
        except Dropped as dropped:
            if not dropped.parts:
                raise
            self._drip(dropped)
            return False
        body = answer.get_data()
        head = "".join(f"{name}: {value}\r\n" for name, value in answer.headers if name != "Content-Length")
        ending = "" if goes_on else "Connection: close\r\n"
        head = f"HTTP/1.1 {answer.status}\r\n{head}Content-Length: {len(body)}\r\n{ending}\r\n"
        self.request.sendall(head.encode() + body)
        return goes_on

    def _drip(self, dropped: Dropped) -> None:
        """Send what is to be sent of the body, in its parts, and no more."""
        phrase = HTTPStatus.OK.phrase
        head = f"HTTP/1.1 200 {phrase}\r\nContent-Type: application/json\r\nContent-Length: {dropped.length}\r\n\r\n"
        self.request.sendall(head.encode())
        for part in dropped.parts:
            self.request.sendall(part)
            if self.server.app.closing.wait(dropped.pause):
                return

    def _read(self, reader: IO[bytes]) -> dict[str, Any] | None:
        """Return the next request as WSGI has it; None at the end of the connection."""
        line = reader.readline(65_537)
        if not line:
            return None
        method, target, protocol = line.decode("latin-1").split()
        path, _, query = target.partition("?")
        body = io.BytesIO()
        environ: dict[str, Any] = {
            "REQUEST_METHOD": method,
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "SCRIPT_NAME": "",
            "SERVER_NAME": self.server.server_address[0],
            "SERVER_PORT": str(self.server.server_address[1]),
            "SERVER_PROTOCOL": protocol,
            "REMOTE_ADDR": self.client_address[0],
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": body,
            "wsgi.input_terminated": True,
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
        }
        while (line := reader.readline(65_537)) not in (b"\r\n", b"\n"):
            name, found, value = line.decode("latin-1").partition(":")
            if not found or len(environ) > 200:
                raise ValueError("not a request that this server reads")
            environ["HTTP_" + name.upper().replace("-", "_")] = value.strip()
        if "HTTP_CONTENT_TYPE" in environ:
            environ["CONTENT_TYPE"] = environ.pop("HTTP_CONTENT_TYPE")
        length = environ["CONTENT_LENGTH"] = environ.pop("HTTP_CONTENT_LENGTH", "0")
        self._read_body(reader, body, int(length), environ)
        return environ

    def _read_body(self, reader: IO[bytes], body: io.BytesIO, length: int, environ: dict[str, Any]) -> None:
        coding = environ.pop("HTTP_TRANSFER_ENCODING", "")
        if coding.lower() not in ("", "chunked"):
            self._refuse("501 Not Implemented")
        if not 0 <= length <= LARGEST_BODY:
            self._refuse("413 Content Too Large")
        if environ.get("HTTP_EXPECT", "").lower() == "100-continue":
            self.request.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        content = self._read_chunks(reader) if coding else _exactly(reader, length)
        environ["CONTENT_LENGTH"] = str(len(content))
        body.write(content)
        body.seek(0)

    def _read_chunks(self, reader: IO[bytes]) -> bytes:
        content = b""
        while length := int(reader.readline(65_537).partition(b";")[0], 16):
            if not 0 <= len(content) + length <= LARGEST_BODY:
                self._refuse("413 Content Too Large")
            content += _exactly(reader, length)
            _exactly(reader, 2)
        while reader.readline(65_537) not in (b"\r\n", b"\n", b""):
            pass  # trailers
        return content

    def _refuse(self, status: str) -> NoReturn:
        self.request.sendall(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
        raise ValueError("not a request that this server reads")


def _exactly(reader: IO[bytes], length: int) -> bytes:
    content = reader.read(length)
    if len(content) < length:
        raise ValueError("the request ended early")
    return content


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 256
    server_address: tuple[str, int]

    def __init__(self, address: tuple[str, int], app: Emulator) -> None:
        self.app = app
        self.connections: set[socket.socket] = set()
        self.accepted = 0
        super().__init__(address, _Connection)

    def handle_error(self, *_: Any) -> None:
        log.exception("request failed")


class EmulatorServer:
    """Serves an emulator on a free port, in threads, as long as the `with` lasts.

    `url` is its root. `close` ends it as a crash would: connections are cut, new ones refused.
    """

    def __init__(self, emulator: Emulator | None = None, host: str = "127.0.0.1", port: int = 0) -> None:
        self.emulator = emulator or Emulator()
        self.emulator.closing.clear()
        self._server = _Server((host, port), self.emulator)
        self.port = self._server.server_address[1]
        self.url = f"http://{host}:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), name="emulator", daemon=True)
        self._thread.start()

    @property
    def accepted(self) -> int:
        """The number of connections accepted so far."""
        return self._server.accepted

    def close(self) -> None:
        """Stop listening, cut every connection, and wait until their threads are gone."""
        self.emulator.closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        deadline = time.monotonic() + 5
        while (connections := list(self._server.connections)) and time.monotonic() < deadline:
            for connection in connections:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue
            time.sleep(0.005)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()


def serve(emulator: Emulator, host: str = "127.0.0.1", port: int = 8001) -> None:
    """Serve until SIGINT or SIGTERM; say where, in one line on standard output."""
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    with EmulatorServer(emulator, host, port) as server:
        sys.stdout.write(f"FaceCloud emulator on {server.url}\n")
        sys.stdout.flush()
        stopped.wait()
