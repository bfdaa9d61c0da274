"""What is measured: a row for each way to ask, with the round trips that it ought to take."""

from dataclasses import dataclass
from typing import Final

from benchmarks.load.round_trips.asking import (
    Way,
    connecting_to_origin,
    connecting_to_proxy,
    direct,
    http,
    socks5,
    socks6,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A way to ask: `near` round trips between client and proxy, `far` ones between proxy and origin."""

    name: str
    label: str
    group: str
    near: int
    far: int
    way: Way


DIRECT, SOCKS5, SOCKS6, CONVERTER = "no proxy", "SOCKS 5", "SOCKS 6", "converter"
OVER_TLS: Final = "SOCKS 6 over TLS"
OVER_QUIC: Final = "SOCKS 6 over QUIC"
COLOURS: Final = {  # of the groups, in the picture
    DIRECT: "#7a7f87",
    SOCKS5: "#d1762c",
    SOCKS6: "#1f67b3",
    OVER_TLS: "#6b4fa0",
    OVER_QUIC: "#b0395f",
    CONVERTER: "#2a8a7c",
}
PINGS: Final = (
    Row(name="ping", label="to the proxy", group=DIRECT, near=1, far=0, way=connecting_to_proxy()),
    Row(name="far-ping", label="proxy to origin", group=DIRECT, near=0, far=1, way=connecting_to_origin()),
)
"""Not shown among the others: what the links themselves take."""

ROWS: Final = (
    Row(name="direct", label="direct", group=DIRECT, near=2, far=2, way=direct()),
    Row(name="direct-tfo", label="direct, Tfo", group=DIRECT, near=1, far=1, way=direct(fast_open=True)),
    Row(
        name="socks5-password",
        label="password (microsocks)",
        group=SOCKS5,
        near=5,
        far=2,
        way=socks5("microsocks-password", password=True),
    ),
    Row(name="socks5", label="plain (microsocks)", group=SOCKS5, near=4, far=2, way=socks5("microsocks")),
    Row(name="socks5-danted", label="plain (dante)", group=SOCKS5, near=4, far=2, way=socks5("danted")),
    Row(name="socks6", label="plain", group=SOCKS6, near=3, far=2, way=socks6("socks6")),
    Row(
        name="socks6-password",
        label="password",
        group=SOCKS6,
        near=3,
        far=2,
        way=socks6("socks6-password", password=True),
    ),
    Row(
        name="socks6-session",
        label="session",
        group=SOCKS6,
        near=3,
        far=2,
        way=socks6("socks6-password", password=True, session=True),
    ),
    Row(
        name="socks6-tfo",
        label="Tfo",
        group=SOCKS6,
        near=2,
        far=2,
        way=socks6("socks6", fast_open=True),
    ),
    Row(
        name="socks6-early",
        label="first bytes with the request",
        group=SOCKS6,
        near=2,
        far=2,
        way=socks6("socks6", early=True),
    ),
    Row(
        name="socks6-token-tfo",
        label="session + token + TFO",
        group=SOCKS6,
        near=1,
        far=2,
        way=socks6("socks6-password", password=True, session=True, early=True, token=True, fast_open=True),
    ),
    Row(
        name="socks6-token-tfo-tfo",
        label="the same, TFO to the origin too",
        group=SOCKS6,
        near=1,
        far=1,
        way=socks6(
            "socks6-password",
            password=True,
            session=True,
            early=True,
            token=True,
            fast_open=True,
            far_fast_open=True,
        ),
    ),
    Row(name="tls", label="plain", group=OVER_TLS, near=4, far=2, way=socks6("socks6-tls", anew=True)),
    Row(name="tls-resumed", label="resumed", group=OVER_TLS, near=4, far=2, way=socks6("socks6-tls")),
    Row(
        name="tls-early",
        label="resumed, first bytes with the request",
        group=OVER_TLS,
        near=3,
        far=2,
        way=socks6("socks6-tls", early=True),
    ),
    Row(
        name="tls-early-tfo-tfo",
        label="the same, TFO on both legs",
        group=OVER_TLS,
        near=2,
        far=1,
        way=socks6("socks6-tls", early=True, fast_open=True, far_fast_open=True),
    ),
    Row(
        name="quic",
        label="new connection",
        group=OVER_QUIC,
        near=3,
        far=2,
        way=socks6("socks6-quic", password=True, anew=True),
    ),
    Row(
        name="quic-early",
        label="new connection, first bytes with the request",
        group=OVER_QUIC,
        near=2,
        far=2,
        way=socks6("socks6-quic", password=True, anew=True, early=True),
    ),
    Row(
        name="quic-0-rtt",
        label="session + token + 0-RTT",
        group=OVER_QUIC,
        near=1,
        far=2,
        way=socks6("socks6-quic", password=True, session=True, early=True, token=True, reconnect=True),
    ),
    Row(
        name="quic-kept",
        label="kept connection, first bytes with the request",
        group=OVER_QUIC,
        near=1,
        far=2,
        way=socks6("socks6-quic", password=True, early=True),
    ),
    Row(name="converter", label="SOCKS 5 client", group=CONVERTER, near=3, far=2, way=socks5("converter")),
    Row(
        name="converter-tfo",
        label="SOCKS 5 client, Tfo",
        group=CONVERTER,
        near=2,
        far=2,
        way=socks5("converter-tfo"),
    ),
    Row(
        name="converter-optimistic",
        label="SOCKS 5 client, optimistic",
        group=CONVERTER,
        near=2,
        far=2,
        way=socks5("converter-optimistic"),
    ),
    Row(
        name="converter-optimistic-tfo",
        label="SOCKS 5 client, optimistic, Tfo",
        group=CONVERTER,
        near=1,
        far=2,
        way=socks5("converter-optimistic-tfo"),
    ),
    Row(name="converter-http", label="HTTP client", group=CONVERTER, near=2, far=2, way=http("converter")),
    Row(
        name="converter-http-tfo",
        label="HTTP client, Tfo",
        group=CONVERTER,
        near=1,
        far=2,
        way=http("converter-tfo"),
    ),
)
