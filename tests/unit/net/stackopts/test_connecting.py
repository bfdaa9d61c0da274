"""Connecting with stack options, over loopback; tests/e2e/test_stack_* has the packets."""

import asyncio
import errno
import socket
import sys

import pytest

if sys.platform != "linux":
    pytest.skip("loopback of other systems differs", allow_module_level=True)

from socks6.message.codes import Leg
from socks6.message.options import Multipath, StackOption, Tos, Ttl
from socks6.net.sockets import reset_on_close
from socks6.net.stackopts.connecting import _finish_reported, connect_with_options
from socks6.net.stackopts.table import effective_options
from tests.kit.footprint import Footprint
from tests.kit.loops import Run

FAR = Leg.PROXY_REMOTE
MANY = (Tos(leg=2, tos=8), Ttl(leg=2, ttl=33), Multipath(availability=2))


@pytest.mark.parametrize("wanted", [(), MANY[:1], MANY[:2], MANY[2:], MANY])
@pytest.mark.parametrize("syn_data", [None, b"", b"hello"])
def test_a_connection_is_made_whatever_is_asked(
    run: Run, wanted: tuple[StackOption, ...], syn_data: bytes | None
) -> None:
    async def play() -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            dialled = await connect_with_options(
                socket.AF_INET, server.getsockname(), wanted, leg=FAR, syn_data=syn_data
            )
            with dialled.sock:
                assert dialled.sock.getpeername() == server.getsockname()
                assert dialled.sock.gettimeout() == 0
                assert dialled.syn_bytes <= len(syn_data or b"")
                asked = [option for option in wanted if not isinstance(option, Multipath)]
                assert effective_options(dialled.sock, asked, FAR) == tuple(asked)

    run(play())


@pytest.mark.parametrize("wanted", [(), MANY[1:2], MANY[2:]])
@pytest.mark.parametrize("syn_data", [None, b"hello"])
def test_a_refusal_is_told_and_leaves_no_socket(
    run: Run, wanted: tuple[StackOption, ...], syn_data: bytes | None
) -> None:
    async def play() -> None:
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            before = Footprint.of().descriptors
            with pytest.raises(ConnectionRefusedError):
                await connect_with_options(
                    socket.AF_INET, closed.getsockname(), wanted, leg=FAR, syn_data=syn_data
                )
            assert Footprint.of().descriptors == before

    run(play())


def test_a_dial_that_is_cancelled_leaves_no_socket(run: Run) -> None:
    async def play() -> None:
        with socket.socket() as full:
            full.bind(("127.0.0.1", 0))
            full.listen(0)
            with socket.create_connection(full.getsockname()):
                before = Footprint.of().descriptors
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.01):
                        await connect_with_options(socket.AF_INET, full.getsockname(), MANY[1:2], leg=FAR)
                assert Footprint.of().descriptors == before

    run(play())


def test_a_host_that_resets_at_once_is_told_not_waited_for(run: Run) -> None:
    async def play() -> None:
        with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as sock:
            sock.connect(server.getsockname())
            sock.setblocking(False)
            peer, _ = server.accept()
            reset_on_close(peer)
            peer.close()
            with pytest.raises(ConnectionResetError):
                await _finish_reported(sock, server.getsockname(), errno.EISCONN, None)

    run(play())


def test_options_about_the_other_leg_are_not_set(run: Run) -> None:
    async def play() -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            dialled = await connect_with_options(
                socket.AF_INET, server.getsockname(), [Ttl(leg=2, ttl=33)], leg=Leg.CLIENT_PROXY
            )
            with dialled.sock:
                assert dialled.sock.getsockopt(socket.IPPROTO_IP, socket.IP_TTL) == 64

    run(play())


def test_a_family_that_this_machine_lacks_is_told(run: Run) -> None:
    async def play() -> None:
        for wanted in ((), MANY[2:]):
            with pytest.raises(OSError, match="not supported"):
                await connect_with_options(socket.AF_APPLETALK, ("127.0.0.1", 9), wanted, leg=FAR)

    run(play())
