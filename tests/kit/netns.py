"""Networks of this machine alone: namespaces in a row, joined by veth pairs, forwarding to each other.

`tests.kit.link` joins them by links that take time and lose packets.

A namespace has no name and no file, only a descriptor: it goes when the test does, however that ends. Threads
enter namespaces, sockets stay where they were made: a listener made inside serves from any thread, and a
process started inside runs inside.
"""

import contextlib
import ctypes
import itertools
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.kit.packets import Capture

CLONE_NEWNET: Final = 0x40000000
OURS: Final = "/proc/thread-self/ns/net"
LEFT, RIGHT = "left", "right"  # the interfaces of a host, towards the first and towards the last

QUIET: Final = {  # what a new namespace gets: no waiting, no limits
    "net.ipv6.conf.all.accept_dad": "0",
    "net.ipv6.conf.default.accept_dad": "0",
    "net.ipv4.icmp_ratelimit": "0",
    "net.ipv6.icmp.ratelimit": "0",
    "net.ipv4.ip_forward": "1",
    "net.ipv6.conf.all.forwarding": "1",
}


class Namespace:
    """A network of its own, until it is closed."""

    def __init__(self) -> None:
        self._descriptor = _new_descriptor()
        self.configure("link set lo up")
        for key, value in QUIET.items():
            self.set(key, value)

    @property
    def path(self) -> str:
        """Where other processes find it."""
        return f"/proc/{os.getpid()}/fd/{self._descriptor}"

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Have this thread be inside: sockets, threads and processes made meanwhile are too."""
        ours = os.open(OURS, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _enter(self._descriptor)
            try:
                yield
            finally:
                _enter(ours)
        finally:
            os.close(ours)

    def configure(self, *commands: str) -> None:
        """Run commands of `ip`."""
        with self.entered():
            subprocess.run(["ip", "-batch", "-"], input="\n".join(commands), text=True, check=True)

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command inside to its end."""
        with self.entered():
            return subprocess.run(command, capture_output=True, text=True, check=False)

    def set(self, key: str, value: object) -> None:
        """Set a sysctl of this namespace alone."""
        with self.entered():
            Path("/proc/sys", *key.split(".")).write_text(str(value))

    def counter(self, name: str) -> int:
        """Return one of the TcpExt counters (nstat)."""
        with self.entered():
            lines = Path("/proc/thread-self/net/netstat").read_text().splitlines()
        names, values = (line.split() for line in lines if line.startswith("TcpExt:"))
        return int(values[names.index(name)])

    @contextlib.contextmanager
    def capturing(self, interface: str = RIGHT) -> Iterator[Capture]:
        """Capture what goes over an interface, both ways."""
        with self.entered(), Capture(interface) as capture:
            yield capture

    def listener(self, host: str, *, protocol: int = socket.IPPROTO_TCP, fast_open: int = 0) -> socket.socket:
        """Return a listening socket at a port that the system chose."""
        with self.entered():
            sock = socket.socket(_family(host), socket.SOCK_STREAM, protocol)
            sock.bind((host, 0))
            if fast_open:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, fast_open)
            sock.listen(64)
            sock.settimeout(20)
        return sock

    def close(self) -> None:
        """Let it go; it ends with the last socket inside."""
        os.close(self._descriptor)


@dataclass(frozen=True, kw_only=True)
class Road:
    """Hosts in a row. Each reaches all others, over IPv4 and IPv6, and forwards between its neighbours."""

    hosts: tuple[Namespace, ...]

    def __iter__(self) -> Iterator[Namespace]:
        """Return the hosts from left to right."""
        return iter(self.hosts)

    @property
    def first(self) -> Namespace:
        """The host at the left end."""
        return self.hosts[0]

    @property
    def last(self) -> Namespace:
        """The host at the right end."""
        return self.hosts[-1]

    def address(self, index: int, family: int = socket.AF_INET) -> str:
        """Return the address by which the hosts to the left know a host, which is not the first."""
        return _address(index - 1, 2, family)

    def own_address(self, index: int, family: int = socket.AF_INET) -> str:
        """Return an address of any host: the first one's faces its neighbour."""
        return self.address(index, family) if index else _address(0, 1, family)

    def last_address(self, family: int = socket.AF_INET) -> str:
        """Return the address of the last host."""
        return self.address(len(self.hosts) - 1, family)


Join = Callable[[Namespace, Namespace, int], contextlib.AbstractContextManager[None]]
"""Joins two hosts by interfaces "right" and "left" for as long as it is open; the number is the link's, from 0."""


@contextlib.contextmanager
def veth(near: Namespace, far: Namespace, _index: int) -> Iterator[None]:
    """Join by a veth pair: at once, and without loss."""
    near.configure(f"link add {RIGHT} type veth peer name {LEFT} netns {far.path}")
    yield


@contextlib.contextmanager
def road(*, routers: int = 0, join: Join = veth) -> Iterator[Road]:
    """Build a road of two hosts with so many routers between them."""
    with contextlib.ExitStack() as held:
        hosts = tuple(Namespace() for _ in range(routers + 2))
        for host in hosts:
            held.callback(host.close)
        for index, (near, far) in enumerate(itertools.pairwise(hosts)):
            held.enter_context(join(near, far, index))
            near.configure(*_interface(RIGHT, index, 1))
            far.configure(*_interface(LEFT, index, 2))
        for index, host in enumerate(hosts):
            if routes := list(_routes(index, len(hosts) - 1)):
                host.configure(*routes)
        made = Road(hosts=hosts)
        for index, host in enumerate(hosts):
            with host.entered():
                wait_for_own_route(made.own_address(index, socket.AF_INET6))
                if 0 < index < len(hosts) - 1:
                    wait_for_own_route(_address(index, 1, socket.AF_INET6))
        yield made


def wait_for_own_route(host: str) -> None:
    """Wait for the route to an IPv6 address of ours, which Linux adds only after it has said that the address is there."""
    deadline = time.monotonic() + 5.0
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        while sock.connect_ex((host, 9)) and time.monotonic() < deadline:
            time.sleep(0.005)


def _interface(name: str, link: int, end: int) -> Iterator[str]:
    yield f"link set {name} up"
    yield f"address add {_address(link, end, socket.AF_INET)}/24 dev {name}"
    yield f"address add {_address(link, end, socket.AF_INET6)}/64 dev {name} nodad"


def _routes(index: int, links: int) -> Iterator[str]:
    for family in (socket.AF_INET, socket.AF_INET6):
        for link in range(index - 1):
            yield f"route add {_network(link, family)} via {_address(index - 1, 1, family)}"
        for link in range(index + 1, links):
            yield f"route add {_network(link, family)} via {_address(index, 2, family)}"


def _address(link: int, end: int, family: int) -> str:
    return f"fd66:{link + 1}::{end}" if family == socket.AF_INET6 else f"10.66.{link + 1}.{end}"


def _network(link: int, family: int) -> str:
    return f"fd66:{link + 1}::/64" if family == socket.AF_INET6 else f"10.66.{link + 1}.0/24"


def _family(host: str) -> int:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _new_descriptor() -> int:
    """Make a namespace, stay where we are."""
    ours = os.open(OURS, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _check(_libc().unshare(CLONE_NEWNET))
        try:
            return os.open(OURS, os.O_RDONLY | os.O_CLOEXEC)
        finally:
            _enter(ours)
    finally:
        os.close(ours)


def _enter(descriptor: int) -> None:
    _check(_libc().setns(descriptor, CLONE_NEWNET))


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _check(result: int) -> None:
    if result:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _obstacle() -> str:
    """Return why there can be no namespaces here; "" when there can."""
    if sys.platform != "linux":
        return "network namespaces need Linux"
    if shutil.which("ip") is None:
        return "network namespaces are configured with ip (iproute2)"
    try:
        os.close(_new_descriptor())
    except OSError as error:
        return f"network namespaces need root: {error.strerror}"
    return ""


OBSTACLE: Final = _obstacle()
needs_namespaces = pytest.mark.skipif(bool(OBSTACLE), reason=OBSTACLE)
