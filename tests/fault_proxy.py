"""A TCP proxy with faults that are switched while it runs: what a network does, between a service and a real server."""

import socket
import struct
import threading
from contextlib import suppress
from typing import Self


class FaultProxy:
    """Stands before a port of this machine. `mode` is `ok`, `hang` (nothing is passed on), `reset` (every connection).

    `cut_after` is how many bytes of answers pass before the connection that carries them is reset, once.
    """

    def __init__(self, target: int) -> None:
        self.mode = "ok"
        self.cut_after: int | None = None
        self._target = target
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._closed = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while not self._closed.is_set():
            try:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target), 5)
            except OSError:
                return
            self._open |= {client, server}
            threading.Thread(target=self._pass_on, args=(client, server, False), daemon=True).start()
            threading.Thread(target=self._pass_on, args=(server, client, True), daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket, answers: bool) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                while self.mode == "hang" and not self._closed.wait(0.01):
                    pass
                if answers and self.cut_after is not None:
                    self.cut_after -= len(data)
                    if self.cut_after < 0:
                        self.cut_after = None
                        break
                if self.mode == "reset":
                    break
                target.sendall(data)
        for end in (source, target):
            self._reset(end)

    def _reset(self, end: socket.socket) -> None:
        self._open.discard(end)
        with suppress(OSError):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            end.shutdown(socket.SHUT_RDWR)
        end.close()

    def close(self) -> None:
        """Refuse what comes, and reset what is open."""
        self._closed.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for end in list(self._open):
            self._reset(end)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
