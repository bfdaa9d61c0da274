"""The forwarder in C as Python sees it: addresses, ancillary data, sockets that are gone. What it does is in test_forwarder."""

import socket
import sys
from array import array
from struct import pack, unpack_from

import pytest

from socks6.message.dialect import DRAFT_12
from socks6.message.framing import NoFraming, Socks6Framing
from socks6.net.stream import DatagramRoute, SocketAddress
from socks6.relay.datagrams.association_relay import best_forwarder
from socks6.relay.datagrams.forwarder import PythonForwarder
from tests.kit.forwarding_scene import ID, LATER, everything, running, udp_socket

pytest.importorskip("socks6.relay.datagrams._forwarder", reason="the forwarder in C was not compiled")

from socks6.relay.datagrams.compiled import CompiledEntry, CompiledForwarder, _ancillary, _packed, _unpacked


@pytest.mark.parametrize(
    ("address", "packed"),
    [
        (("192.0.2.1", 53), pack("=H", socket.AF_INET) + bytes.fromhex("0035 c0000201 0000000000000000")),
        (
            ("fe80::1", 65535, 0, 7),
            pack("=H", socket.AF_INET6) + bytes.fromhex(f"ffff 00000000 fe80{13 * '00'}01") + pack("=I", 7),
        ),
    ],
)
def test_addresses_are_as_the_kernel_has_them(address: SocketAddress, packed: bytes) -> None:
    assert _packed(address) == packed
    assert _unpacked(packed) == address


def test_a_scope_is_known_by_its_number_and_a_flow_label_by_nothing() -> None:
    assert _packed(("fe80::1%eth0", 1, 9, 7)) == _packed(("fe80::1", 1, 0, 7))


@pytest.mark.parametrize("data", [b"", b"abc", bytes(8), bytes(12), bytes(20)])
def test_ancillary_data_is_as_the_kernel_has_it(data: bytes) -> None:
    packed = _ancillary(socket.SOL_SOCKET, socket.SCM_RIGHTS, data)
    assert len(packed) == socket.CMSG_SPACE(len(data))
    assert unpack_from("@Nii", packed) == (socket.CMSG_LEN(len(data)), socket.SOL_SOCKET, socket.SCM_RIGHTS)
    assert packed[socket.CMSG_LEN(0) :].startswith(data)


def test_it_is_the_best_where_it_was_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(best_forwarder(), CompiledForwarder)
    monkeypatch.setitem(sys.modules, "socks6.relay.datagrams.compiled", None)
    assert type(best_forwarder()) is PythonForwarder


def test_a_budget_has_room_for_two_numbers() -> None:
    entry = CompiledForwarder().open(NoFraming(), NoFraming(), PythonForwarder())  # type: ignore[arg-type]  # any owner
    with pytest.raises(ValueError, match="a budget of less than two numbers"):
        entry.core.limit(array("q", (0, 0)), array("q", (0,)))


def test_sockets_that_are_gone_harm_nobody_elses_datagrams() -> None:
    with running("compiled") as play:
        forwarder = play.forwarder
        gone = udp_socket()
        handle = forwarder.handle(play.entry, gone)
        gone.close()
        play.answer(b"answer")
        forwarder.forward_sockets([handle, forwarder.handle(play.entry, play.far)], 0.0)
        assert everything(play.client) == [play.message(b"answer")]
        port = udp_socket()
        port.close()
        forwarder.forward_port(port, 0.0)
        assert (play.up, play.down) == ([], [])


def test_a_route_whose_socket_is_gone_loses_its_datagrams_alone() -> None:
    with running("compiled") as play, udp_socket() as away:
        message = play.message(b"data")
        play.entry.add_route(
            play.key(message),
            DatagramRoute(sock=away, address=play.remote.getsockname()[:2], prefix=(b"", b""), until=LATER),
        )
        away.close()
        play.send(message)
        play.forward_from_clients()
        assert everything(play.remote) == []
        play.allow()
        play.send(message)
        play.forward_from_clients()
        assert everything(play.remote) == [b"data"]


def test_an_entry_that_was_closed_counts_on_and_takes_nothing() -> None:
    with running("compiled") as play:
        play.send(play.message(b"one"))
        play.forward_from_clients()
        play.entry.close()
        play.entry.close()
        play.send(play.message(b"two"))
        play.forward_from_clients()
        assert everything(play.remote) == [b"one"]
        assert play.entry.counts().up_datagrams == 1


def test_an_entry_of_another_forwarder_is_a_fault_of_ours() -> None:
    with running("python") as play, pytest.raises(AssertionError):
        CompiledForwarder().handle(play.entry, play.far)
    framing = Socks6Framing(ID, DRAFT_12, DRAFT_12.datagram_layout)
    with running("compiled") as play:
        assert isinstance(CompiledForwarder().open(framing, NoFraming(), play), CompiledEntry)
