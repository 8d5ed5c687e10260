"""Connections of `requests` that a deadline can cut."""

from typing import Any

import urllib3.connection
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
