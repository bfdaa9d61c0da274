"""The adapters of the standard options, and what they are made of."""

import errno
import socket
import sys
from collections.abc import Iterator
from struct import pack

import pytest
from typing_extensions import override

from socks6.message.codes import Leg
from socks6.message.options import HappyEyeballs, NoFragmentation, Tos, Ttl
from socks6.message.options.stack import ConnectFacts
from socks6.net.stackopts.adapter import (
    EVERYWHERE,
    IPPROTO_MPTCP,
    MPTCP_INFO,
    SOL_MPTCP,
    TCP_IS_MPTCP,
    SocketOption,
    is_multipath,
)
from socks6.net.stackopts.table import apply_options, effective_options

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has these")


def test_what_is_not_the_same_everywhere_other_systems_lack() -> None:
    assert set(EVERYWHERE) == {Tos, Ttl, HappyEyeballs}


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
@pytest.mark.parametrize("option", [Tos, Ttl])
def test_what_is_written_is_read(family: int, option: type[Tos | Ttl]) -> None:
    with socket.socket(family) as sock:
        EVERYWHERE[option].write(sock, 0x20)
        assert EVERYWHERE[option].read(sock) == 0x20


def test_the_outcome_of_a_race_is_read() -> None:
    with socket.socket() as sock:
        assert EVERYWHERE[HappyEyeballs].read(sock, ConnectFacts(raced=True)) == 2


def test_an_integer_of_setsockopt_is_an_adapter() -> None:
    keep_alive = SocketOption(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    with socket.socket() as sock:
        keep_alive.write(sock, 1)
        assert keep_alive.read(sock) == 1
    assert keep_alive.read(sock) is None  # closed


class OlderKernel(socket.socket):
    """A socket of a kernel that does not know TCP_IS_MPTCP."""

    info: bytes | int = errno.EOPNOTSUPP  # struct mptcp_info, or an error number

    @override
    def getsockopt(self, level: int, name: int, size: int = 0) -> bytes:  # type: ignore[override]  # of three
        if (level, name) == (SOL_MPTCP, MPTCP_INFO) and isinstance(self.info, bytes):
            return self.info[:size]
        if (level, name) in {(SOL_MPTCP, MPTCP_INFO), (socket.IPPROTO_TCP, TCP_IS_MPTCP)}:
            raise OSError(self.info, "no")
        raise AssertionError


@pytest.fixture
def multipath() -> Iterator[socket.socket]:
    """Give an MPTCP connection on loopback."""
    with socket.socket(proto=IPPROTO_MPTCP) as server, socket.socket(proto=IPPROTO_MPTCP) as sock:
        server.bind(("127.0.0.1", 0))
        server.listen()
        sock.connect(server.getsockname())
        yield sock


@LINUX
def test_a_multipath_connection_is_one(multipath: socket.socket) -> None:
    assert is_multipath(multipath)


@LINUX
def test_one_that_fell_back_is_none() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(proto=IPPROTO_MPTCP) as sock:
        sock.connect(server.getsockname())
        assert not is_multipath(sock)


@LINUX
@pytest.mark.parametrize(
    ("info", "expected"),
    [
        (pack("=8xI", 0b10), True),  # the remote's key was received
        (pack("=8xI", 0b11), False),  # it fell back later
        (b"short", False),
        (errno.EOPNOTSUPP, False),  # it fell back
        (errno.ENOPROTOOPT, False),  # it never was MPTCP
    ],
)
def test_older_kernels_tell_it_otherwise(info: bytes | int, expected: bool) -> None:
    with OlderKernel() as sock:
        sock.info = info
        assert is_multipath(sock) is expected


@LINUX
def test_the_kernel_of_this_machine_tells_it_that_way_too(multipath: socket.socket) -> None:
    info = multipath.getsockopt(SOL_MPTCP, MPTCP_INFO, 12)
    with OlderKernel() as sock:
        sock.info = info
        assert is_multipath(sock)


@LINUX
def test_what_no_mptcp_socket_tells_is_what_new_sockets_have(multipath: socket.socket) -> None:
    wanted = (Ttl(leg=2, ttl=33), NoFragmentation(leg=2, availability=2), Tos(leg=2, tos=8))
    apply_options(multipath, wanted, Leg.PROXY_REMOTE)
    assert effective_options(multipath, wanted, Leg.PROXY_REMOTE) == (
        Ttl(leg=2, ttl=64),
        NoFragmentation(leg=2, availability=1),
        Tos(leg=2, tos=8),
    )


@LINUX
def test_a_datagram_that_is_too_long_is_an_error() -> None:
    for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            apply_options(sock, [NoFragmentation(leg=2, availability=2)], Leg.PROXY_REMOTE)
            with pytest.raises(OSError, match="too long"):
                sock.sendto(bytes(65530), (host, 9))
