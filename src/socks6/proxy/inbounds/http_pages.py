"""The HTTP inbound's own pages: how the proxy is, for clients of this machine, and a PAC file, which browsers can use.

Pages are whole without scripts and fetch nothing. A page of another site cannot read them: it would have to come by a name
of its own (DNS rebinding), and the status is shown to who names this machine by an address or "localhost" alone.
"""

import base64
import hashlib
import html
import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from socks6.distribution import VERSION
from socks6.message.address import is_literal
from socks6.message.http import Page
from socks6.net.bind import unmapped
from socks6.net.transports.tls import TlsStream
from socks6.net.upstream import UpstreamStatus
from socks6.protocol.http import PageRequested
from socks6.proxy.connection import ClientConnection
from socks6.proxy.live import TrafficTotals, byte_words, duration_words

REFRESH_SECONDS: Final = 5
FRESH_SECONDS: Final = 10.0  # for which what is known of the proxy to go through needs no check
STYLE: Final = """
:root { color-scheme: light dark; --line: #d8dce2; --dim: #5c6470; --up: #1a7f37; --down: #c0272d; }
@media (prefers-color-scheme: dark) { :root { --line: #363c45; --dim: #9aa3af; --up: #4ac26b; --down: #ff7b72; } }
body { font: 16px/1.5 system-ui, sans-serif; margin: 3rem auto; max-width: 44rem; padding: 0 1rem; }
h1 { font-size: 1.4rem; } h1 span { color: var(--dim); } h1 .up { color: var(--up); } h1 .down { color: var(--down); }
table { border-collapse: collapse; width: 100%; }
th, td { border-top: 1px solid var(--line); overflow-wrap: anywhere; padding: .45rem 0; text-align: left; vertical-align: top; }
th { color: var(--dim); font-weight: normal; padding-right: 1.5rem; white-space: nowrap; width: 10rem; }
footer { color: var(--dim); font-size: .85rem; margin-top: 1.5rem; } a { color: inherit; }
"""
POLICY: Final = "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; style-src 'sha256-{}'"
FIELDS: Final = (
    (b"Cache-Control", b"no-store"),
    (b"X-Content-Type-Options", b"nosniff"),
    (b"Referrer-Policy", b"no-referrer"),
    (b"Cross-Origin-Resource-Policy", b"same-origin"),
)
PAC: Final = """\
// Everything goes through %(proxy)s, but for this machine, plain names, and addresses of private networks.
function FindProxyForURL(url, host) {
  host = host.toLowerCase().replace(/^\\[|\\]$/g, "");
  if (isPlainHostName(host) && host.indexOf(":") < 0) return "DIRECT";
  if (/(^|\\.)(localhost|local|internal|home\\.arpa)\\.?$/.test(host)) return "DIRECT";
  if (/^(127|10|169\\.254|192\\.168|172\\.(1[6-9]|2[0-9]|3[01]))\\.[0-9.]+$/.test(host)) return "DIRECT";
  if (/^(::1$|f[cd][0-9a-f]{2}:|fe[89ab][0-9a-f]:)/.test(host)) return "DIRECT";
  return "%(proxy)s";
}
"""
PAC_TYPE: Final = b"application/x-ns-proxy-autoconfig"


def find_page(request: PageRequested, connection: ClientConnection) -> Page | None:
    """Return the page at the request's path; None if there is none, or none for this client."""
    make = PAGES.get(request.path)
    return None if make is None else make(request, connection)


def _status(request: PageRequested, connection: ClientConnection) -> Page | None:
    named = request.host == "localhost" or is_literal(request.host)
    if not (connection.is_local and named) or connection.authentication_required:
        return None
    outbound = connection.proxy.outbound
    outbound.refresh(FRESH_SECONDS)
    totals, upstream, now = connection.proxy.connections.totals(), outbound.upstream, time.time()
    upstreams = outbound.upstreams
    if request.wants_json:
        body = json.dumps(_facts(upstream, upstreams, totals), indent=2) + "\n"
        return Page(b"application/json", body.encode(), FIELDS)
    digest = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    policy = (b"Content-Security-Policy", POLICY.format(digest).encode())
    return Page(
        b"text/html; charset=utf-8", _document(upstream, upstreams, totals, now).encode(), (*FIELDS, policy)
    )


def _facts(
    upstream: UpstreamStatus | None, upstreams: Sequence[UpstreamStatus], totals: TrafficTotals
) -> dict[str, object]:
    """Return the status for programs; times are seconds, `since` and `last_error_at` since 1970."""
    return {
        "version": VERSION,
        "upstream": upstream and _upstream_facts(upstream),
        "upstreams": [_upstream_facts(status) for status in upstreams],
        "connections": {"open": totals.open, "served": totals.served},
        "bytes": {"up": totals.bytes_up, "down": totals.bytes_down},
    }


def _upstream_facts(upstream: UpstreamStatus) -> dict[str, object]:
    return {
        "url": upstream.url,
        "state": upstream.state.value,
        "since": round(upstream.since, 3),
        "encryption": upstream.encryption,
        "seconds": round(upstream.seconds, 6),
        "reason": upstream.reason,
        "last_error": upstream.last_error,
        "last_error_at": round(upstream.last_error_at, 3),
    }


def _document(
    upstream: UpstreamStatus | None, upstreams: Sequence[UpstreamStatus], totals: TrafficTotals, now: float
) -> str:
    state = "direct" if upstream is None else upstream.state.value
    rows = "".join(
        f"<tr><th scope=row>{name}</th><td>{html.escape(value)}</td></tr>\n"
        for name, value in _rows(upstream, upstreams, totals, now).items()
        if value
    )
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>socks6: {state}</title>\n'
        f'<meta http-equiv="refresh" content="{REFRESH_SECONDS}"><link rel="icon" href="data:,">\n'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head>\n'
        f'<body><h1>socks6 <span class="{state}">{state}</span></h1>\n<table>\n{rows}</table>\n'
        f'<footer>socks6 {VERSION} · <a href="/proxy.pac">proxy.pac</a>, for the automatic configuration of browsers'
        ' · <a href="/?format=json">JSON</a></footer></body></html>\n'
    )


def _rows(
    upstream: UpstreamStatus | None, upstreams: Sequence[UpstreamStatus], totals: TrafficTotals, now: float
) -> dict[str, str]:
    traffic = {
        "Connections": f"{totals.open} open, {totals.served} ended",
        "Bytes": f"{byte_words(totals.bytes_up)} up, {byte_words(totals.bytes_down)} down",
    }
    if upstream is None:
        return {"Through": "no other proxy", **traffic}
    error_age = f"{duration_words(now - upstream.last_error_at)} ago: {upstream.last_error}"
    return {
        "Through": upstream.url,
        "State": f"{upstream.state.value} for {duration_words(now - upstream.since)}"
        if upstream.since
        else "",
        "Cause": upstream.reason,
        "Encryption": "" if upstream.reason else upstream.encryption,
        "Answers in": f"{upstream.seconds * 1000:.1f} ms" if upstream.seconds and not upstream.reason else "",
        **traffic,
        "Last error": error_age if upstream.last_error and not upstream.reason else "",
        **(
            {f"Proxy {n}": _words(one, now) for n, one in enumerate(upstreams, 1)}
            if len(upstreams) > 1
            else {}
        ),
    }


def _words(upstream: UpstreamStatus, now: float) -> str:
    """Return how one of several proxies is."""
    since = f" for {duration_words(now - upstream.since)}" if upstream.since else ""
    if upstream.reason:
        return f"{upstream.url}: {upstream.state.value}{since}: {upstream.reason}"
    return f"{upstream.words}: {upstream.state.value}{since}"


def _pac(_: PageRequested, connection: ClientConnection) -> Page | None:
    """Return a PAC file that leads to where the client has reached the proxy; None on a Unix socket."""
    host, port = connection.stream.local
    if not host:
        return None
    host = unmapped(host.partition("%")[0])
    scheme = "PROXY" if connection.stream.attribute(TlsStream) is None else "HTTPS"
    proxy = f"{scheme} [{host}]:{port}" if ":" in host else f"{scheme} {host}:{port}"
    return Page(PAC_TYPE, (PAC % {"proxy": proxy}).encode(), FIELDS)


PAGES: Final[Mapping[str, Callable[[PageRequested, ClientConnection], Page | None]]] = {
    "/": _status,
    "/proxy.pac": _pac,
}
