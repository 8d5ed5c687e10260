"""The address that a request's failed logins count for."""

import ipaddress
from functools import lru_cache

from flask import request


def address() -> str:
    """Return the address that a request comes from; of IPv6 the /64, which one client has."""
    return network_of(request.remote_addr or "")


@lru_cache(1_000)
def network_of(text: str) -> str:
    """Return an address as what one client has: of IPv6 the /64."""
    try:
        client = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return "nowhere"
    if isinstance(client, ipaddress.IPv6Address):
        if client.ipv4_mapped:
            return str(client.ipv4_mapped)
        return str(ipaddress.ip_network((client, 64), strict=False))
    return str(client)
