"""Sockets over streams that are none: bytes, ends, resets, names, options, nothing left behind."""

import asyncio
import errno
import gc
import os
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from socks6.client.sockets import ProxiedSocket
from socks6.client.stream import ProxiedStream
from socks6.net.stream import ByteStream, Endpoint
from socks6.sync.loop_thread import loop_thread
from tests.kit.memory import memory_stream_pair

BOUND = Endpoint("192.0.2.1", 4000)
PEER = Endpoint("example.com", 80)


class Remote:
    """The remote host's end of the stream behind a socket."""

    def __init__(self, stream: ByteStream) -> None:
        self.stream = stream

    def send(self, data: bytes) -> None:
        loop_thread().run(self.stream.send(data))

    def end(self) -> None:
        loop_thread().run(self.stream.send_eof())

    def receive(self) -> bytes:
        return loop_thread().run(self.stream.receive())

    def abort(self) -> None:
        async def work() -> None:
            self.stream.abort()

        loop_thread().run(work())


def carried(peer: Endpoint = PEER) -> tuple[ProxiedSocket, Remote]:
    """Return a socket, and what it leads to."""

    async def work() -> tuple[socket.socket, Remote]:
        ours, theirs = memory_stream_pair()
        stream = ProxiedStream(ours, BOUND, (), peer=peer)
        return loop_thread().carrier.socket_of(stream), Remote(theirs)

    sock, remote = loop_thread().run(work())
    assert isinstance(sock, ProxiedSocket)
    sock.settimeout(10)
    return sock, remote


def eventually(done: Callable[[], bool]) -> None:
    """Wait until something is so."""
    ends = time.monotonic() + 10
    while not done():
        assert time.monotonic() < ends
        time.sleep(0.005)


@contextmanager
def nothing_left() -> Iterator[None]:
    """See that the block leaves no descriptor and no task."""
    loop_thread().run(asyncio.sleep(0))
    before = set(os.listdir("/proc/self/fd"))
    carrier = loop_thread().carrier
    yield
    eventually(lambda: not carrier._carried)
    gc.collect()
    assert len(set(os.listdir("/proc/self/fd")) - before) <= 2  # the relay's epoll, and its listing


def test_bytes_go_both_ways_and_either_end_is_passed_on() -> None:
    with nothing_left():
        sock, remote = carried()
        with sock:
            sock.sendall(b"request")
            sock.shutdown(socket.SHUT_WR)
            assert remote.receive() == b"request"
            assert remote.receive() == b""
            remote.send(b"answer")
            assert sock.recv(100) == b"answer"
            remote.end()
            assert sock.recv(100) == b""
            assert sock.recv_into(bytearray(8)) == 0


def test_a_socket_that_is_not_read_stops_the_remote_and_one_that_is_not_taken_from_blocks() -> None:
    sock, remote = carried()
    with sock:
        sock.settimeout(0.1)
        with pytest.raises(TimeoutError):
            sock.sendall(bytes(16 << 20))
        remote.abort()


@pytest.mark.parametrize("half_closed", [False, True])
def test_a_stream_that_breaks_is_a_reset(half_closed: bool) -> None:
    with nothing_left():
        sock, remote = carried()
        with sock:
            remote.send(b"half")
            assert sock.recv(4) == b"half"
            if half_closed:
                sock.shutdown(socket.SHUT_WR)
                assert remote.receive() == b""
            remote.abort()
            with pytest.raises(ConnectionResetError) as caught:
                sock.recv(1)
            assert caught.value.errno == errno.ECONNRESET
            if half_closed:
                with pytest.raises(ConnectionResetError), sock.makefile("rb") as file:
                    file.read()


def test_a_reset_is_the_kernels_so_that_code_sees_it_which_has_the_descriptor() -> None:
    sock, remote = carried()
    with socket.socket(fileno=sock.detach()) as plain:
        plain.settimeout(10)
        remote.abort()
        with pytest.raises(ConnectionResetError):
            plain.recv(1)


def test_a_descriptor_that_is_another_file_by_now_is_not_written_to() -> None:
    sock, remote = carried()
    number = sock.fileno()
    left, right = socket.socketpair()
    with left, right:
        sock.detach()
        os.dup2(left.fileno(), number)  # closes the socket, and has its number
        remote.abort()
        eventually(lambda: not loop_thread().carrier._carried)
        right.setblocking(False)
        with pytest.raises(BlockingIOError):
            right.recv(1)
        os.close(number)


@pytest.mark.slow
def test_a_socket_that_is_closed_or_collected_ends_its_stream_though_the_remote_stays() -> None:
    with nothing_left():
        sock, remote = carried()
        sock.sendall(b"last")
        sock.close()
        assert remote.receive() == b"last"
        assert remote.receive() == b""
        sock, remote = carried()
        with pytest.warns(ResourceWarning):
            del sock
        assert remote.receive() == b""


def test_it_has_the_addresses_of_the_connection_that_it_stands_for() -> None:
    sock, remote = carried()
    six, other = carried(Endpoint("2001:db8::1", 443))
    with sock, six, sock.dup() as copy:
        assert sock.getpeername() == copy.getpeername() == ("example.com", 80)
        assert sock.getsockname() == ("192.0.2.1", 4000)
        assert six.getpeername() == ("2001:db8::1", 443, 0, 0)
        assert copy.gettimeout() == 10
        remote.abort()
        other.abort()
    with pytest.raises(OSError, match="Bad file descriptor"):
        sock.getpeername()


def test_options_of_tcp_are_taken_and_those_of_sockets_are_set() -> None:
    sock, remote = carried()
    with sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 0
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        remote.abort()


def test_tls_within_it() -> None:
    """`wrap_socket` takes the descriptor, and asks for type and peer."""
    sock, remote = carried()
    context = ssl.create_default_context()
    with context.wrap_socket(sock, server_hostname="example.com", do_handshake_on_connect=False) as secured:
        secured.settimeout(0.05)
        with pytest.raises(TimeoutError):
            secured.do_handshake()
        assert remote.receive()[:1] == b"\x16"  # a ClientHello
        remote.abort()
