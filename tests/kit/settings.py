"""Values of settings that a file and flags specify alike, by key."""

import socket
from typing import Final

from socks6.message.dialect import DRAFT_12, GO_212
from socks6.net.datagrams.filtering import Filtering
from socks6.net.url import ProxyUrl

SPECIFIED: Final[dict[str, object]] = {
    "listen": (
        ProxyUrl(protocol="socks6", host="127.0.0.1", port=1080),
        ProxyUrl(protocol="mixed", transport="unix", path="/run/mixed.sock"),
    ),
    "via": (
        ProxyUrl(protocol="socks6", host="proxy.example", port=1080),
        ProxyUrl(protocol="socks6", host="other.example", port=1080),
    ),
    "via-order": "round-robin",
    "via-fast-open": True,
    "via-session": False,
    "open": True,
    "policy.allow-private": True,
    "limits.connections": 5,
    "limits.connections-per-source": 0,
    "limits.connections-per-user": 6,
    "sessions.enabled": False,
    "sessions.total": 9,
    "sessions.idle": 8,
    "bind.ports": range(20000, 21000),
    "udp.enabled": False,
    "udp.filtering": Filtering.ADDRESS_DEPENDENT,
    "tls.client-ca": "/etc/ca.pem",
    "tls.min-version": "1.2",
    "quic.backend": "aioquic",
    "timeouts.handshake": 1,
    "timeouts.lookup": 2,
    "timeouts.connect": 3.5,
    "timeouts.idle": 0,
    "timeouts.fin": 5,
    "timeouts.drain": 6,
    "dialect-212": (DRAFT_12, GO_212),
    "quiet-failures": True,
    "ignore-fragmented": True,
    "optimistic": True,
    "copy-tos": True,
    "fast-open": 7,
    "tfo-without-token": False,
    "tcp-congestion": "bbr",
    "happy-eyeballs.race": False,
    "happy-eyeballs.first-family": socket.AF_INET6,
    "happy-eyeballs.delay": 0.5,
    "verbose": 2,
    "log-format": "json",
    "log-file": "/var/log/socks6.log",
    "log-destinations": True,
    "loop": "asyncio",
}
