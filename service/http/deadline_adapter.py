"""Connections of `requests` that a deadline can cut."""

from typing import Any

import urllib3.connection
from requests import PreparedRequest
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool

from service.deadlines import WatchedConnection


class _HTTPConnection(WatchedConnection, urllib3.connection.HTTPConnection):
    pass


class _HTTPSConnection(WatchedConnection, urllib3.connection.HTTPSConnection):
    pass


class _HTTPPool(HTTPConnectionPool):
    ConnectionCls = _HTTPConnection


class _HTTPSPool(HTTPSConnectionPool):
    ConnectionCls = _HTTPSConnection


_POOLS = {"http": _HTTPPool, "https": _HTTPSPool}


class DeadlineAdapter(HTTPAdapter):
    """Keeps connections of `requests`, also through a proxy, that a `deadline` can cut.

    It is for few addresses, and for one set of proxies and certificates: what follows from them is looked up once an
    address, which otherwise is a quarter of the cost of a call.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        self._pools: dict[str, Any] = {}
        self._targets: dict[str, str] = {}
        super().__init__(*args, **options)

    def get_connection_with_tls_context(self, request: PreparedRequest, *args: Any, **options: Any) -> Any:
        """Return the pool of connections to the request's host."""
        url = str(request.url)
        if url not in self._pools:
            self._pools[url] = super().get_connection_with_tls_context(request, *args, **options)
        return self._pools[url]

    def request_url(self, request: PreparedRequest, proxies: Any) -> str:
        """Return what stands in the request's first line."""
        url = str(request.url)
        if url not in self._targets:
            self._targets[url] = super().request_url(request, proxies)
        return self._targets[url]

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        """Make the connections to hosts."""
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, *args: Any, **options: Any) -> Any:
        """Return the connections through a proxy."""
        manager = super().proxy_manager_for(*args, **options)
        manager.pool_classes_by_scheme = _POOLS
        return manager
