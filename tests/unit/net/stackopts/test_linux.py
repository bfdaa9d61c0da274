"""What only Linux can tell, and older ones otherwise."""

import errno
import socket
import sys
from collections.abc import Iterator
from struct import pack

import pytest
from typing_extensions import override

if sys.platform != "linux":
    pytest.skip("only Linux has these rows", allow_module_level=True)

from socks6.message.codes import Leg
from socks6.message.options import NoFragmentation, Tos, Ttl
from socks6.net.stackopts.linux import IPPROTO_MPTCP, MPTCP_INFO, SOL_MPTCP, TCP_IS_MPTCP, is_multipath
from socks6.net.stackopts.table import apply_options, effective_options


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


def test_a_multipath_connection_is_one(multipath: socket.socket) -> None:
    assert is_multipath(multipath)


def test_one_that_fell_back_is_none() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(proto=IPPROTO_MPTCP) as sock:
        sock.connect(server.getsockname())
        assert not is_multipath(sock)


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


def test_the_kernel_of_this_machine_tells_it_that_way_too(multipath: socket.socket) -> None:
    info = multipath.getsockopt(SOL_MPTCP, MPTCP_INFO, 12)
    with OlderKernel() as sock:
        sock.info = info
        assert is_multipath(sock)


def test_what_no_mptcp_socket_tells_is_what_new_sockets_have(multipath: socket.socket) -> None:
    wanted = (Ttl(leg=2, ttl=33), NoFragmentation(leg=2, availability=2), Tos(leg=2, tos=8))
    apply_options(multipath, wanted, Leg.PROXY_REMOTE)
    assert effective_options(multipath, wanted, Leg.PROXY_REMOTE) == (
        Ttl(leg=2, ttl=64),
        NoFragmentation(leg=2, availability=1),
        Tos(leg=2, tos=8),
    )


def test_a_datagram_that_is_too_long_is_an_error() -> None:
    for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            apply_options(sock, [NoFragmentation(leg=2, availability=2)], Leg.PROXY_REMOTE)
            with pytest.raises(OSError, match="too long"):
                sock.sendto(bytes(65530), (host, 9))
