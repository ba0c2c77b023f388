"""Which network addresses a URL may lead to."""

from __future__ import annotations

import ipaddress

# Answers only to a cloud's own machines, although the address is a public one (Azure's wire server).
_PUBLIC_METADATA = {ipaddress.ip_address("168.63.129.16")}
# For protocols between neighbours (RFC 6890), Oracle's metadata among them; Python counts parts as global.
_PROTOCOL_ASSIGNMENTS = ipaddress.ip_network("192.0.0.0/24")
_NAT64 = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("64:ff9b:1::/48"))
_IPV4_COMPATIBLE = ipaddress.ip_network("::/96")


def refusal(address: str) -> str | None:
    """Why a connection to ``address`` is refused ("loopback", "private", ...), or None for a public one.

    IPv6 addresses that carry an IPv4 address (mapped, compatible, 6to4, NAT64, Teredo) are judged by
    the address they carry.
    """
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return "unreadable"
    carried = _carried_ipv4(ip) if isinstance(ip, ipaddress.IPv6Address) else None
    if carried is not None:
        return refusal(str(carried))
    if ip in _PUBLIC_METADATA:
        return "cloud metadata"
    if ip.is_unspecified:
        return "unspecified"
    if ip.is_loopback:
        return "loopback"
    if ip.is_link_local:
        return "link-local"
    if ip.is_multicast:
        return "multicast"
    if isinstance(ip, ipaddress.IPv6Address) and ip.is_site_local:
        return "site-local"
    if ip.is_private or not ip.is_global or ip in _PROTOCOL_ASSIGNMENTS:
        return "private"
    return "reserved" if ip.is_reserved else None


def _carried_ipv4(ip: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    if ip.ipv4_mapped is not None:
        return ip.ipv4_mapped
    if ip.sixtofour is not None:
        return ip.sixtofour
    if ip.teredo is not None:
        return ip.teredo[1]
    low = int(ip) & 0xFFFFFFFF
    if any(ip in network for network in _NAT64) or (ip in _IPV4_COMPATIBLE and low > 1):
        return ipaddress.IPv4Address(low)
    return None
