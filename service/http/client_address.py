"""The address that a request's failed logins count for."""

import ipaddress

from flask import request


def address() -> str:
    """Return the address that a request comes from; of IPv6 the /64, which one client has."""
    try:
        client = ipaddress.ip_address((request.remote_addr or "").partition("%")[0])
    except ValueError:
        return "nowhere"
    if isinstance(client, ipaddress.IPv6Address):
        if client.ipv4_mapped:
            return str(client.ipv4_mapped)
        return str(ipaddress.ip_network((client, 64), strict=False))
    return str(client)
