"""HTTP calls to addresses that clients name, protected against server-side request forgery."""

import re
import socket
import ssl
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import cache
from http.client import HTTPConnection, HTTPException
from urllib.parse import SplitResult, urlsplit

import certifi

from service.deadlines import deadline, look_up, watch
from service.http.special_addresses import is_public

LONGEST_URL = 2_000
SECONDS = 15.0
"""How long a call may take in all, from the first packet to the answer's status."""
_CONNECT_SECONDS = 5.0
_MOST_TRIED = 3  # addresses of one name
_MOST_READ = 64 * 1024  # bytes of the answer's body, which is not used
_PORTS = {"http": 80, "https": 443}
_FIRST_FREE_PORT = 1024  # those below belong to services that are no receivers, such as mail


class Refused(Exception):
    """The address may not be called; the text is a sentence for the client."""


class Unreachable(Exception):
    """The call did not come to an answer; the text says why, without anything of the address but its host."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. The body is not kept."""

    status: int
    retry_after: str | None


def check_url(url: str, *, private_allowed: bool) -> SplitResult:
    """Return the parts of an address that may be called, as far as it shows without asking DNS; raises Refused."""
    if not url:
        raise Refused("It is empty: send an http or https address such as https://example.com/hook, or none at all.")
    if len(url) > LONGEST_URL:
        raise Refused(f"It may have at most {LONGEST_URL:,} characters.")
    if not re.fullmatch(r"[!-~]+", url) or "\\" in url:
        raise Refused("It may have only visible ASCII characters: write others percent-encoded, names in punycode.")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise Refused("It is not an address such as https://example.com/hook.") from error
    if parts.scheme not in ("http", "https") or not host or port == 0:
        raise Refused("It must be an http or https address such as https://example.com/hook.")
    if parts.username is not None or parts.password is not None:
        raise Refused("It must not have a user name or a password in it; the signature tells who calls.")
    if not private_allowed and port and port not in _PORTS.values() and port < _FIRST_FREE_PORT:
        raise Refused(f"Its port may be 80, 443, or {_FIRST_FREE_PORT} and above.")
    if not private_allowed and _is_private_by_name(host):
        raise Refused(f"{host} is not a public address.")
    return parts


def post(
    url: str,
    body: bytes,
    headers: Mapping[str, str],
    *,
    private_allowed: bool,
    seconds: float = SECONDS,
) -> Answer:
    """Send a POST and return the answer's status, whatever it is, within so many seconds; follow no redirect.

    The name is resolved once. All its addresses must be public, and the connection goes to one of just these: a second
    answer of DNS is not asked for. Host header, SNI and certificate are the name's. No proxy is asked. Raises Refused,
    Unreachable.
    """
    parts = check_url(url, private_allowed=private_allowed)
    host, port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
    try:
        with deadline(seconds, len(body)) as bound:
            addresses = _addresses(host, port)
            if not private_allowed and not all(map(is_public, addresses)):
                raise Refused(f"{host} leads to an address that is not public.")
            with closing(_Connection(parts.scheme, host, port, addresses)) as connection:
                bound.watch(connection)
                target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
                connection.request("POST", target, body, dict(headers))
                answer = connection.getresponse()
                with suppress(OSError, HTTPException):  # the status has come, and nothing else is of interest
                    answer.read(_MOST_READ)
                return Answer(answer.status, answer.getheader("Retry-After"))
    except (OSError, HTTPException) as error:
        why = getattr(error, "verify_message", None) or getattr(error, "strerror", None) or type(error).__name__
        raise Unreachable(f"{host} could not be reached, or did not answer within {seconds:g} s: {why}.") from error


def _addresses(host: str, port: int) -> list[str]:
    try:
        return look_up(host, port)
    except TimeoutError:
        raise
    except (OSError, UnicodeError) as error:
        raise Unreachable(f"The name {host} is not known to DNS now.") from error


def _is_private_by_name(host: str) -> bool:
    name = host.rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return not is_public(socket.inet_ntoa(socket.inet_aton(name)))  # also 127.1, 0x7f000001 and 2130706433
    except OSError:
        return ":" in name and not is_public(name)


class _Connection(HTTPConnection):
    """A connection that goes to one of these addresses, whatever DNS says of the host's name by now."""

    def __init__(self, scheme: str, host: str, port: int, addresses: Sequence[str]) -> None:
        super().__init__(host, port, timeout=SECONDS)
        self.default_port = _PORTS[scheme]  # which the Host header leaves out
        self._secure = scheme == "https"
        self._addresses = addresses[:_MOST_TRIED]

    def connect(self) -> None:
        """Connect to the first address that answers."""
        for number, address in enumerate(self._addresses, 1):
            try:
                sock = socket.create_connection((address, self.port), _CONNECT_SECONDS)
                break
            except OSError:
                if number == len(self._addresses):
                    raise
        sock.settimeout(SECONDS)
        # Python leaks a socket that is cut before it is wrapped, so the deadline has it only then.
        self.sock = self._secured(sock) if self._secure else sock
        watch(self)
        if isinstance(self.sock, ssl.SSLSocket):
            self.sock.do_handshake()

    def _secured(self, sock: socket.socket) -> ssl.SSLSocket:
        return _trust().wrap_socket(sock, server_hostname=self.host, do_handshake_on_connect=False)


@cache
def _trust() -> ssl.SSLContext:
    """Trust the certificates that the system trusts, a company's own among them, and those of browsers."""
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context
