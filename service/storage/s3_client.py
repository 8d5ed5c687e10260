"""boto3's clients for the object store and its STS."""

import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import boto3
import botocore.session
from botocore.awsrequest import (
    AWSHTTPConnection,
    AWSHTTPConnectionPool,
    AWSHTTPSConnection,
    AWSHTTPSConnectionPool,
)
from botocore.config import Config

from service import deadlines
from service.certificates import system_bundle
from service.deadlines import WatchedConnection, deadline

TRIES = 3
"""So often a call is made, and a broken download taken up again, before the store counts as unreachable."""
CHECK_SECONDS = 2
"""Seconds that connecting may take, and the answer to a check: a question for readiness wants no long wait."""


@dataclass(frozen=True, kw_only=True)
class S3Access:
    """How the store is reached. What is empty, boto3 finds as it does everywhere: files, instance roles."""

    endpoint: str = ""
    public_endpoint: str = ""
    region: str = ""
    key_id: str = ""
    secret: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    timeout: float = 10
    """Seconds for each call, all its tries among them. It has one more for each megabyte that it sends or receives."""
    connections: int = 32


class Clients:
    """Clients are made when they are first needed, in each process its own: connections do not survive a fork."""

    def __init__(self, access: S3Access) -> None:
        self._access = access
        self._clients: dict[tuple[int, str, str, bool], Any] = {}
        self._session: Any = None
        self._lock = threading.Lock()

    def client(self, service: str, endpoint: str, *, checking: bool = False) -> Any:
        """Return this process's client of `s3` or `sts` at an endpoint, empty for Amazon's.

        One for checking has little patience. Raises BotoCoreError where there is none.
        """
        place = (os.getpid(), service, endpoint, checking)
        if place not in self._clients:
            with self._lock:
                self._clients[place] = self._clients.get(place) or self._connect(service, endpoint, checking)
        return self._clients[place]

    def _connect(self, service: str, endpoint: str, checking: bool) -> Any:
        access = self._access
        # One session for all clients, made before the fork: the description of S3 takes ten megabytes.
        session = self._session = self._session or boto3.session.Session(
            aws_access_key_id=access.key_id or None,
            aws_secret_access_key=access.secret or None,
            aws_session_token=access.token or None,
            region_name=access.region or None,
        )
        config = Config(
            connect_timeout=min(access.timeout, CHECK_SECONDS),
            read_timeout=min(access.timeout, CHECK_SECONDS) if checking else access.timeout,
            retries={"mode": "standard", "total_max_attempts": 1 if checking else TRIES},
            max_pool_connections=access.connections,
        )
        if service == "s3":
            config = config.merge(_s3_config(endpoint))
        region = session.region_name or "us-east-1"
        client = session.client(
            service, endpoint_url=endpoint or None, region_name=region, config=config, verify=_trusted_bundle()
        )
        _obey_deadlines(client, service)
        return client


def pages(client: Any, operation: str, seconds: float, **options: str) -> Iterator[dict[str, Any]]:
    """Yield the pages of a listing; each is a call, and has so many seconds."""
    listing = iter(client.get_paginator(operation).paginate(**options))
    while True:
        with deadline(seconds):
            page = next(listing, None)
        if page is None:
            return
        yield page


class _HTTPConnection(WatchedConnection, AWSHTTPConnection):  # type: ignore[misc]
    pass


class _HTTPSConnection(WatchedConnection, AWSHTTPSConnection):  # type: ignore[misc]
    pass


class _HTTPPool(AWSHTTPConnectionPool):  # type: ignore[misc]
    ConnectionCls = _HTTPConnection


class _HTTPSPool(AWSHTTPSConnectionPool):  # type: ignore[misc]
    ConnectionCls = _HTTPSConnection


def _obey_deadlines(client: Any, service: str) -> None:
    """Have a deadline cut the client's connections, and end its tries."""
    # botocore has no public place for classes of connections; tests/test_deadlines.py holds that this is one.
    client._endpoint.http_session._pool_classes_by_scheme.update(http=_HTTPPool, https=_HTTPSPool)
    client.meta.events.register_first(f"needs-retry.{service}", lambda **_: deadlines.check())


def _trusted_bundle() -> str | None:
    """Return the system's certificates; None where boto3 itself takes those that the environment or a profile names."""
    named = botocore.session.get_session().get_config_variable("ca_bundle") or os.environ.get("REQUESTS_CA_BUNDLE")
    return None if named else system_bundle()


def _s3_config(endpoint: str) -> Config:
    return Config(
        signature_version="s3v4",
        # Stores that are not Amazon's know bodies whose SHA-256 is signed, and not all of them newer checksums.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3={"addressing_style": "path" if endpoint else "auto", "payload_signing_enabled": True},
    )
