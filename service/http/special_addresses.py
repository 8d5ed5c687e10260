"""Addresses that are not of the open internet, by the registries of IANA as of 2025-10.

iana-ipv4-special-registry, iana-ipv6-special-registry and the multicast ranges. The interpreter's own `is_global`
differs from one release to the next. What stands for an IPv4 address in an IPv6 one is refused with the rest: mapped,
6to4, Teredo and NAT64.
"""

import ipaddress

_IPV4 = (
    "0.0.0.0/8",  # this network
    "10.0.0.0/8",
    "100.64.0.0/10",  # shared by a provider's customers
    "127.0.0.0/8",
    "169.254.0.0/16",  # link-local
    "172.16.0.0/12",
    "192.0.0.0/24",  # IETF protocol assignments
    "192.0.2.0/24",  # documentation
    "192.31.196.0/24",  # AS112
    "192.52.193.0/24",  # AMT
    "192.88.99.0/24",  # 6to4 relays
    "192.168.0.0/16",
    "192.175.48.0/24",  # AS112
    "198.18.0.0/15",  # benchmarks
    "198.51.100.0/24",  # documentation
    "203.0.113.0/24",  # documentation
    "224.0.0.0/4",  # multicast
    "240.0.0.0/4",  # reserved, and broadcast
)
_IPV6_UNICAST = ipaddress.IPv6Network("2000::/3")
"""All that IANA gives out. Outside are mapped addresses, NAT64, local ones, multicast, and `5f00::/16`."""
_IPV6 = (
    "2001::/23",  # IETF protocol assignments: Teredo, benchmarks, ORCHID and others
    "2001:db8::/32",  # documentation
    "2002::/16",  # 6to4
    "2620:4f:8000::/48",  # AS112
    "3fff::/20",  # documentation
)
_SPECIAL_IPV4 = tuple(map(ipaddress.IPv4Network, _IPV4))
_SPECIAL_IPV6 = tuple(map(ipaddress.IPv6Network, _IPV6))


def is_public(address: str) -> bool:
    """Return whether an IP address is one of the open internet, and stands for no other address."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv4Address):
        return not any(ip in network for network in _SPECIAL_IPV4)
    return ip in _IPV6_UNICAST and not ip.scope_id and not any(ip in network for network in _SPECIAL_IPV6)
