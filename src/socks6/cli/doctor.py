"""socks6 doctor: checks the installation, the system and, given a URL, the way to a proxy; each line says what to do."""

import asyncio
import contextlib
import importlib
import json
import logging
import os
import platform
import resource
import socket
import sys
from argparse import Namespace
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from dataclasses import asdict, replace
from enum import Enum
from pathlib import Path
from typing import Final

from socks6.cli import FAILED, describe
from socks6.cli.common import run_loop
from socks6.cli.ping import milliseconds
from socks6.client.client import Client
from socks6.client.older_requester import COMMANDS
from socks6.config.upstream import find_upstreams
from socks6.dataclass import dataclass
from socks6.distribution import NAME, VERSION, install_hint
from socks6.errors import (
    AuthenticationFailed,
    CertificateRefused,
    ConfigurationError,
    OperationFailed,
    ProxyTimedOut,
    ProxyUnreachable,
    Socks6Error,
    VersionMismatch,
)
from socks6.message.codes import Command
from socks6.message.first_bytes import SPOKEN
from socks6.net.datagrams.segments import SOL_UDP, UDP_SEGMENT
from socks6.net.encryption.certificates import format_pin, pin_of
from socks6.net.encryption.contexts import TlsParameters
from socks6.net.resolve import ResolvedAddress, Resolver
from socks6.net.sockets import connect_socket
from socks6.net.stackopts.adapter import IPPROTO_MPTCP
from socks6.net.transports.base import ConnectParameters
from socks6.net.transports.registry import AUTO, QUIC, TLS
from socks6.net.transports.tls import TlsConnector, TlsSession
from socks6.net.url import ProxyUrl

ROUNDS: Final = 4  # requests whose times are told
MIN_DESCRIPTORS: Final = 4096
QUIC_MTU: Final = 1280  # RFC 9000 §14: 1200 bytes of payload, and the headers of IPv6 and UDP
IP_MTU: Final = 14  # linux/in.h
IPV6_MTU: Final = 24  # linux/in6.h
IP_RECVERR: Final = 11
EXTRAS: Final = (  # the module of an extra, the extra, and what it is for
    ("qh3", "quic", "socks6+quic://, and QUIC in socks6+auto://"),
    ("OpenSSL", "dtls", "datagrams over UDP beside socks6+tls://; without it they go on the stream"),
)
FAST_OPEN_FILE: Final = Path("/proc/sys/net/ipv4/tcp_fastopen")


class Verdict(Enum):
    """How a check came out."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one check found, and what to do about it."""

    check: str
    verdict: Verdict = Verdict.OK
    words: str
    advice: str = ""

    @property
    def lines(self) -> Iterator[str]:
        """The finding as it is printed."""
        yield f"{self.verdict.value:<8} {self.check:<14} {self.words}"
        if self.advice:
            yield f"{'':<8} {'':<14} -> {self.advice}"


def run(arguments: Namespace) -> int:
    """Check, and print each finding as it comes; 1 if anything failed."""
    urls = find_upstreams(arguments.via, arguments.via_file, os.environ, argument="URL")
    findings: list[Finding] = []
    logging.getLogger("socks6").setLevel(logging.ERROR)  # what a client would log is a finding here
    run_loop(_collect(urls, arguments.timeout, findings, None if arguments.json else _show))
    if arguments.json:
        values = [{**asdict(found), "verdict": found.verdict.value} for found in findings]
        print(json.dumps(values, indent=2))
    return FAILED if any(found.verdict is Verdict.FAILED for found in findings) else 0


def _show(found: Finding) -> None:
    print(*found.lines, sep="\n", flush=True)


async def _collect(
    urls: Sequence[ProxyUrl],
    seconds: float,
    findings: list[Finding],
    show: Callable[[Finding], None] | None,
) -> None:
    async for found in examine(urls, seconds):
        findings.append(found)
        if show is not None:
            show(found)


async def examine(urls: Sequence[ProxyUrl], seconds: float) -> AsyncIterator[Finding]:
    """Return the findings one after another; each step takes `seconds` at most."""
    for found in examine_installation():
        yield found
    for found in examine_system():
        yield found
    for url in urls:
        if len(urls) > 1:
            yield Finding(check="proxy", words=url.brief)
        async with contextlib.aclosing(_examine_way(url, seconds)) as way:
            async for found in way:
                yield found
                if found.verdict is Verdict.FAILED:
                    break  # what comes after it would fail for the same reason


# This machine.


def examine_installation() -> Iterator[Finding]:
    """Return what is installed, and what is not."""
    system = f"{platform.system()} {platform.release()}, {platform.machine()}"
    yield Finding(check="version", words=f"{NAME} {VERSION}, Python {platform.python_version()}, {system}")
    for module, extra, purpose in EXTRAS:
        if _is_there(module):
            yield Finding(check=f"extra {extra}", words="installed")
        else:
            yield Finding(
                check=f"extra {extra}", words=f"not installed; for {purpose}", advice=install_hint(extra)
            )
    yield _expected(
        "event loop", "uvloop", _is_there("uvloop"), "asyncio's own, which is slower", "pip install uvloop"
    )
    yield _expected(
        "datagrams",
        "forwarded by the compiled extension",
        _is_there("socks6.relay.datagrams._forwarder"),
        "forwarded in Python, at several times the CPU",
        "install a wheel for this platform, or from source with a C compiler",
    )


def examine_system() -> Iterator[Finding]:
    """Return what the operating system has of what is used."""
    for check, words, has, instead, advice in (
        ("splice", "plain streams are moved by the kernel", hasattr(os, "splice"), "streams are copied", "Linux has it"),
        ("IPv6", "there is IPv6", _can_bind("::1"), "there is no IPv6 here", "only IPv4 is used"),
        (
            "multipath", "MPTCP can be asked for", _can_open(socket.SOCK_STREAM, IPPROTO_MPTCP),
            "there is no MPTCP: it is not used", "sysctl net.mptcp.enabled=1, from Linux 5.6",
        ),
        (
            "ICMP errors", "of datagrams can be read", _can_set(socket.IPPROTO_IP, IP_RECVERR),
            "cannot be read: clients are not told of them", "Linux has them",
        ),
        (
            "UDP segments", "are sent many at a time", _can_set(SOL_UDP, UDP_SEGMENT, 0),
            "are sent one by one, which makes QUIC slower", "Linux has it from 4.18",
        ),
    ):  # fmt: skip
        yield _expected(check, words, has, instead, advice)
    yield _fast_open()
    descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    enough = descriptors == resource.RLIM_INFINITY or descriptors >= MIN_DESCRIPTORS
    yield _expected(
        "descriptors",
        "without a limit" if descriptors == resource.RLIM_INFINITY else f"{descriptors} at most",
        enough,
        f"{descriptors} at most, and a connection takes two",
        "ulimit -Hn, LimitNOFILE= in a unit",
    )


def _expected(check: str, words: str, has: bool, instead: str, advice: str) -> Finding:
    if has:
        return Finding(check=check, words=words)
    return Finding(check=check, verdict=Verdict.WARNING, words=instead, advice=advice)


def _fast_open() -> Finding:
    try:
        bits = int(FAST_OPEN_FILE.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return Finding(check="TCP Fast Open", words="unknown here")
    sides = [side for bit, side in ((1, "clients"), (2, "listeners")) if bits & bit]
    advice = "" if len(sides) > 1 else "for both: sysctl net.ipv4.tcp_fastopen=3"
    return Finding(check="TCP Fast Open", words=f"for {' and '.join(sides) or 'nobody'}", advice=advice)


def _is_there(module: str) -> bool:
    try:
        importlib.import_module(module)
    except ImportError:
        return False
    return True


def _can_open(kind: int, protocol: int) -> bool:
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, kind, protocol):
        return True
    return False


def _can_bind(host: str) -> bool:
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        sock.bind((host, 0))
        return True
    return False


def _can_set(level: int, option: int, value: int = 1) -> bool:
    if sys.platform != "linux":
        return False
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(level, option, value)
        return True
    return False


# The way to a proxy.


async def _examine_way(url: ProxyUrl, seconds: float) -> AsyncGenerator[Finding, None]:
    try:
        client = Client(url, timeout=seconds, session=False)
    except ConfigurationError as error:  # files, extras
        yield Finding(check="URL", verdict=Verdict.FAILED, words=str(error), advice="as it says")
        return
    if not url.path:
        addresses: list[ResolvedAddress] = []
        yield await _look_up(url, seconds, addresses)
        yield _route(url, addresses)
        if url.transport != QUIC:
            yield await _connect(addresses, seconds)
        if url.transport in {TLS, AUTO}:
            yield await _certificate(url, seconds)
    async with client:
        yield await _request(client)
        yield await _round_trips(client)
        if not url.path and Command.UDP_ASSOCIATE in COMMANDS.get(url.spoken, Command):
            yield await _datagrams(client)
    if url.transport in {TLS, AUTO} and client.speaks_socks6 and _is_there("qh3"):
        yield await _quic(url, seconds)


async def _look_up(url: ProxyUrl, seconds: float, found: list[ResolvedAddress]) -> Finding:
    try:
        async with asyncio.timeout(seconds):
            found += await Resolver().resolve(url.host, url.port)
    except OSError as error:
        words = f"{url.host}: {error.strerror or 'no answer in time'}"
        advice = "check the name in the URL, and this machine's DNS (resolvectl query); or use the address"
        return Finding(check="name", verdict=Verdict.FAILED, words=words, advice=advice)
    return Finding(check="name", words=f"{url.host} is {', '.join(address.host for address in found)}")


def _route(url: ProxyUrl, addresses: list[ResolvedAddress]) -> Finding:
    ours: list[str] = []
    small = False
    for address in addresses:
        with contextlib.suppress(OSError), socket.socket(address.family, socket.SOCK_DGRAM) as sock:
            sock.connect(address.socket_address)
            mtu = _mtu(sock)
            small = small or (mtu or QUIC_MTU) < QUIC_MTU
            ours.append(f"{address.host} from {sock.getsockname()[0]}{f', MTU {mtu}' if mtu else ''}")
    if not ours:
        return Finding(
            check="route",
            verdict=Verdict.FAILED,
            words="there is no route to any of them",
            advice="ip route get ADDRESS; is this machine on a network, does it have IPv6?",
        )
    if small and url.transport in {QUIC, AUTO}:
        advice = f"QUIC needs an MTU of {QUIC_MTU}: over this way use socks6+tls://"
        return Finding(check="route", verdict=Verdict.WARNING, words="; ".join(ours), advice=advice)
    return Finding(check="route", words="; ".join(ours))


def _mtu(sock: socket.socket) -> int | None:
    """Return the path's MTU, as far as the system knows it by now."""
    if sys.platform != "linux":
        return None
    six = sock.family == socket.AF_INET6
    return sock.getsockopt(*((socket.IPPROTO_IPV6, IPV6_MTU) if six else (socket.IPPROTO_IP, IP_MTU)))


async def _connect(addresses: list[ResolvedAddress], seconds: float) -> Finding:
    """Connect to each address; one that answers is enough."""
    loop = asyncio.get_running_loop()
    reached, missed = [], []
    for address in addresses:
        began = loop.time()
        try:
            sock = await connect_socket(address.family, address.socket_address, deadline=began + seconds)
        except OSError as error:
            missed.append(f"{address.host}: {error.strerror or 'no answer'}")
            continue
        sock.close()
        reached.append(f"{address.host} in {milliseconds(loop.time() - began)} ms")
    words = "; ".join((*reached, *missed))
    if not reached:
        advice = (
            "refused: does it listen there (the port in the URL)? no answer: a firewall, or another address"
        )
        return Finding(check="TCP", verdict=Verdict.FAILED, words=words, advice=advice)
    if missed:
        advice = "the others are tried in vain at times: take addresses that do not answer out of DNS"
        return Finding(check="TCP", verdict=Verdict.WARNING, words=words, advice=advice)
    return Finding(check="TCP", words=words)


async def _certificate(url: ProxyUrl, seconds: float) -> Finding:
    """Shake hands as the URL says; say by which pin it could be known where it is refused."""
    try:
        words = await _handshake(url, url.tls, seconds)
    except CertificateRefused as error:
        with contextlib.suppress(OSError, Socks6Error):
            insecure = TlsParameters(insecure=True, alpn_optional=True, min_version=url.tls.min_version)
            seen = (await _handshake(url, insecure, seconds)).rpartition("=")[2]
            advice = f"if the server shows the same pin (at its start, or socks6 share): ?pin-sha256={seen}"
            return Finding(check="TLS", verdict=Verdict.FAILED, words=str(error), advice=advice)
        return Finding(check="TLS", verdict=Verdict.FAILED, words=str(error))
    except OSError as error:
        words = error.strerror or str(error) or f"no answer within {seconds:g} s"
        advice = f"is that the port of a listener with TLS ({url.scheme}://), of {SPOKEN[url.spoken]}?"
        return Finding(check="TLS", verdict=Verdict.FAILED, words=words, advice=advice)
    return Finding(check="TLS", words=words)


async def _handshake(url: ProxyUrl, tls: TlsParameters, seconds: float) -> str:
    parameters = ConnectParameters(
        host=url.host,
        port=url.port,
        tls=tls,
        alpn=url.alpn,
        require_alpn=url.spoken == "socks6",
        resolver=Resolver(),
    )
    async with asyncio.timeout(seconds):
        stream = await TlsConnector(parameters).connect()
    try:
        session = stream.attribute(TlsSession)
        assert session is not None  # noqa: S101 - the handshake is done
        return f"{session.version}, {session.cipher}, pin-sha256={format_pin(pin_of(session.certificate))}"
    finally:
        stream.abort()


# What a request that failed is a sign of, the first that fits.
ADVICE: Final[tuple[tuple[type[Exception], str], ...]] = (
    (
        AuthenticationFailed,
        "socks6 passwd NAME --file USERS on the server, then reload it; USER:PASSWORD@ in the URL",
    ),
    (
        CertificateRefused,
        "?pin-sha256=PIN, which the server prints at its start (socks6 share writes the URL)",
    ),
    (VersionMismatch, "check the port, and whether it listens with TLS: something else answers there"),
    (ProxyTimedOut, "check the port, and firewalls between here and there"),
    (ProxyUnreachable, "the server's log says more, at -v"),
)


async def _request(client: Client) -> Finding:
    """Make one request that asks for nothing."""
    spoken = SPOKEN[client.url.spoken]
    try:
        seconds = await client.noop()
    except (Socks6Error, OSError) as error:
        advice = next((words for kind, words in ADVICE if isinstance(error, kind)), "")
        if not client.speaks_socks6 and isinstance(error, AuthenticationFailed | ProxyUnreachable):
            advice = "USER:PASSWORD@ in the URL" if isinstance(error, AuthenticationFailed) else ""
        return Finding(check=spoken, verdict=Verdict.FAILED, words=describe(error), advice=advice)
    who = f" as user {client.url.username}" if client.url.username is not None else ""
    return Finding(check=spoken, words=f"answers{who}, the first time in {milliseconds(seconds)} ms")


async def _round_trips(client: Client) -> Finding:
    try:
        times = [await client.noop() for _ in range(ROUNDS)]
    except (Socks6Error, OSError) as error:
        return Finding(
            check="round trips",
            verdict=Verdict.WARNING,
            words=f"one request of {ROUNDS} failed: {describe(error)}",
            advice="a lossy network, or a server at a limit: its log says which",
        )
    figures = "/".join(map(milliseconds, (min(times), sum(times) / len(times), max(times))))
    return Finding(check="round trips", words=f"min/avg/max = {figures} ms for a whole request")


async def _datagrams(client: Client) -> Finding:
    """Open an association, and see by which way its datagrams travel."""
    try:
        async with client.associate() as association:
            path = association.path
    except OperationFailed as failure:
        words, advice = (
            f"the server has none: {failure.reason}",
            "udp.enabled in its settings, if they are wanted" if client.speaks_socks6 else "",
        )
        return Finding(check="UDP", verdict=Verdict.WARNING, words=words, advice=advice)
    except (Socks6Error, OSError) as error:
        return Finding(
            check="UDP", verdict=Verdict.WARNING, words=describe(error), advice="open the UDP port, too"
        )
    if path == "stream":
        dtls = (
            ""
            if client.url.transport not in {TLS, AUTO} or _is_there("OpenSSL")
            else f", or: {install_hint('dtls')}"
        )
        return Finding(
            check="UDP",
            verdict=Verdict.WARNING,
            words="datagrams travel on the stream: UDP does not get through to the proxy",
            advice=f"open UDP port {client.url.port} on the way{dtls}; udp=stream in the URL is content with it",
        )
    return Finding(check="UDP", words=f"datagrams travel by {path}")


async def _quic(url: ProxyUrl, seconds: float) -> Finding:
    """See whether the same place answers QUIC, too."""
    tls = replace(url.tls, min_version=None, alpn_optional=False)
    try:
        async with Client(replace(url, transport=QUIC, tls=tls), timeout=seconds, session=False) as client:
            await client.noop()
    except (Socks6Error, OSError, ConfigurationError) as error:
        if url.transport == AUTO:
            advice = f"open UDP port {url.port}; until then TLS is used"
            return Finding(check="QUIC", verdict=Verdict.WARNING, words=describe(error), advice=advice)
        return Finding(check="QUIC", words="not there, and not asked for")
    hint = "" if url.transport == AUTO else ": socks6+auto:// would use it"
    return Finding(check="QUIC", words=f"answers at the same port{hint}")
