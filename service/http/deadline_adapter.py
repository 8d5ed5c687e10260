"""Connections of `requests` that a deadline can cut."""

from typing import Any

import urllib3.connection
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool

from service.deadlines import WatchedConnection

JOINED = 256 * 1024
"""Bytes of a body below which it is sent together with the head of its request."""


class _JoiningConnection(WatchedConnection):
    """A connection that sends a request in one piece where it is short, so that the other side is woken once."""

    _head: bytes | None = None

    def request(self, method: str, url: str, body: Any = None, *args: Any, **options: Any) -> None:
        self._head = b"" if isinstance(body, bytes) and 0 < len(body) < JOINED else None
        try:
            super().request(method, url, body, *args, **options)
        finally:
            self._head = None  # of a request that could not be made

    def send(self, data: Any) -> None:
        if self._head == b"":
            self._head = data
            return
        if self._head:
            data, self._head = self._head + data, None
        super().send(data)  # type: ignore[misc]  # of the class beside this one in a connection's bases


class _HTTPConnection(_JoiningConnection, urllib3.connection.HTTPConnection):
    pass


class _HTTPSConnection(_JoiningConnection, urllib3.connection.HTTPSConnection):
    pass


class _HTTPPool(HTTPConnectionPool):
    ConnectionCls = _HTTPConnection


class _HTTPSPool(HTTPSConnectionPool):
    ConnectionCls = _HTTPSConnection


_POOLS = {"http": _HTTPPool, "https": _HTTPSPool}


class DeadlineAdapter(HTTPAdapter):
    """Keeps connections of `requests`, also through a proxy, that a `deadline` can cut."""

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        """Make the connections to hosts."""
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, *args: Any, **options: Any) -> Any:
        """Return the connections through a proxy."""
        manager = super().proxy_manager_for(*args, **options)
        manager.pool_classes_by_scheme = _POOLS
        return manager
