"""The movers: the same is asked of the one in Python and of the one in C (which is `test_compiled`'s module, too)."""

import contextlib
import gc
import socket
import weakref

import pytest
from typing_extensions import override

from socks6.message.datagrams import DatagramError, decode_message
from socks6.message.dialect import DRAFT_12, GO_212, DatagramLayout, Dialect
from socks6.message.framing import Framing, NoFraming, Socks5Framing, Socks6Framing
from socks6.net.stream import DatagramRoute, SocketAddress
from socks6.relay.bandwidth import DatagramBudget
from socks6.relay.datagrams.forwarder import MAX_ENTRIES, AssociationEntry, ClientPath, FiveTuple, SlowPath
from tests.kit.datagram_forwarders import forwarder_named
from tests.kit.forwarding_scene import HOST, ID, LATER, everything, running, scene, udp_socket
from tests.kit.netns import Namespace, needs_namespaces

pytestmark = pytest.mark.parametrize("forwarder", ["python", "compiled"])

UDP_SEGMENT = 103
UDP_GRO = 104
HOSTS = pytest.mark.parametrize("host", ["127.0.0.1", "::1"])

FRAMING = Socks6Framing(ID, DRAFT_12, DRAFT_12.datagram_layout)


@HOSTS
@pytest.mark.parametrize("dialect", [DRAFT_12, GO_212])
@pytest.mark.parametrize("layout", list(DatagramLayout))
def test_datagrams_go_back_and_forth(
    forwarder: str, layout: DatagramLayout, dialect: Dialect, host: str
) -> None:
    with running(forwarder, dialect=dialect, layout=layout, host=host) as play:
        play.send(play.message(b"one"), play.message(b""), play.message(b"three"))
        play.forward_from_clients()
        assert everything(play.remote) == [b"one", b"", b"three"]
        play.answer(b"four", b"", b"six")
        play.forward_from_remotes()
        assert everything(play.client) == [play.message(data) for data in (b"four", b"", b"six")]
        entry = play.entry
        assert (
            entry.counts().up_datagrams,
            entry.counts().up_bytes,
            entry.counts().down_datagrams,
            entry.counts().down_bytes,
        ) == (3, 8, 3, 7)
        assert (play.up, play.down, play.forwarder.dropped) == ([], [], 0)


def test_what_has_no_way_is_handed_up_as_it_came(forwarder: str) -> None:
    with scene(forwarder) as play:
        message = play.message(b"first") + b"padding"
        play.send(message)
        play.forward_from_clients()
        assert play.up == [(message, play.path)]
        play.bind_client()
        play.send(message)
        play.forward_from_clients()
        assert play.up == [(message, play.path)] * 2
        play.answer(b"who is this?")
        play.forward_from_remotes()
        assert play.down == [(b"who is this?", play.remote.getsockname())]
        assert everything(play.remote) == everything(play.client) == []


def test_ways_and_sources_end_in_time(forwarder: str) -> None:
    with running(forwarder) as play:
        message = play.message(b"data")
        play.send(message)
        play.answer(b"data")
        play.forward_from_clients(LATER - 0.1)
        play.forward_from_remotes(LATER - 0.1)
        assert len(everything(play.remote)) == len(everything(play.client)) == 1
        play.send(message)
        play.answer(b"data")
        play.forward_from_clients(LATER)
        play.forward_from_remotes(LATER)
        assert (len(play.up), len(play.down)) == (1, 1)
        play.allow(until=2 * LATER)
        play.send(message)
        play.answer(b"data")
        play.forward_from_clients(LATER)
        play.forward_from_remotes(LATER)
        assert len(everything(play.remote)) == len(everything(play.client)) == 1


def test_another_source_or_port_is_another_path(forwarder: str) -> None:
    with running(forwarder) as play, udp_socket() as thief, udp_socket("127.0.0.2") as far_thief:
        play.send(play.message(b"stolen"), sock=thief)
        play.send(play.message(b"stolen"), sock=far_thief)
        play.forward_from_clients()
        with udp_socket() as other_port:
            play.client.sendto(play.message(b"elsewhere"), other_port.getsockname())
            play.forwarder.forward_port(other_port, 0.0)
        assert (everything(play.remote), play.up, play.forwarder.dropped) == ([], [], 3)
        play.send(play.message(b"mine"))
        play.forward_from_clients()
        assert everything(play.remote) == [b"mine"]


def test_another_local_address_is_another_path(forwarder: str) -> None:
    with (
        scene(forwarder, host="0.0.0.0", local_addresses=True) as play,
        udp_socket() as client,
    ):
        where = ("127.0.0.1", play.port.getsockname()[1])
        client.sendto(play.message(b"first", "127.0.0.1"), where)
        play.forward_from_clients()
        (_, path) = play.up.pop()
        assert path == FiveTuple(play.port, client.getsockname(), socket.inet_aton("127.0.0.1"))
        play.entry.bind_client(path, play.framing, [])
        client.sendto(play.message(b"same", "127.0.0.1"), where)
        client.sendto(play.message(b"other", "127.0.0.1"), ("127.0.0.9", where[1]))
        play.forward_from_clients()
        assert [data for data, _ in play.up] == [play.message(b"same", "127.0.0.1")]
        assert play.forwarder.dropped == 1


@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 19])
def test_what_is_too_short_is_dropped(forwarder: str, size: int) -> None:
    with running(forwarder) as play:
        play.send(play.message(b"data")[:size])
        play.forward_from_clients()
        assert (everything(play.remote), play.up) == ([], [])


@pytest.mark.parametrize(
    ("at", "value"),
    [
        (0, 5),  # version
        (1, 1),  # Initialization
        (1, 4),  # Error
        (2, 1),  # longer than it is
        (3, 19),  # shorter than its header
        (4, 99),  # of another association
        (12, 2),  # no address type
    ],
)
def test_what_is_no_message_of_the_client_is_dropped(forwarder: str, at: int, value: int) -> None:
    with running(forwarder) as play:
        message = bytearray(play.message(b"data"))
        message[at] = value
        play.send(bytes(message))
        play.forward_from_clients()
        assert (everything(play.remote), play.up, play.forwarder.dropped) == ([], [], 1)


@pytest.mark.parametrize("name", ["a.example", "host." + "x" * 60 + "." + "y" * 60 + ".example"])
def test_names_have_ways_as_addresses_do(forwarder: str, name: str) -> None:
    with running(forwarder) as play:
        message = play.message(b"by name", name, 53)
        play.send(message)
        play.forward_from_clients()
        assert [data for data, _ in play.up] == [message]
        play.entry.add_route(play.key(message), DatagramRoute(play.far, play.remote.getsockname(), LATER))
        play.send(message, play.message(b"another", "b" + name, 53))
        play.forward_from_clients()
        assert everything(play.remote) == [b"by name"]
        assert len(play.up) == 2


def test_so_many_datagrams_are_taken_before_others_have_their_turn(forwarder: str) -> None:
    with running(forwarder) as play:
        play.send(*[play.message(b"data")] * 100)
        play.answer(*[b"data"] * 100)
        for count in (64, 36, 0):
            play.forward_from_clients()
            play.forward_from_remotes()
            assert len(everything(play.remote)) == len(everything(play.client)) == count


def test_no_more_goes_than_the_budgets_hold_each_way(forwarder: str) -> None:
    with running(forwarder) as play:
        up, down = DatagramBudget(), DatagramBudget()
        up.cells[0], down.cells[0] = 1_500, 1
        play.entry.limit(up, down)
        play.send(*[play.message(bytes(1_000))] * 3)
        play.answer(*[b"12345"] * 3)
        play.forward_from_clients()
        play.forward_from_remotes()
        assert [len(everything(sock)) for sock in (play.remote, play.client)] == [
            2,
            1,
        ]  # the last one is owed
        assert (list(up.cells), list(down.cells)) == ([-500, 1], [-4, 2])
        assert (play.up, play.down, play.forwarder.dropped) == ([], [], 0)
        counts = play.entry.counts()
        assert (counts.up_bytes, counts.down_bytes) == (2_000, 5)
        up.cells[0] = 1
        others = DatagramBudget(), DatagramBudget()
        play.entry.limit(*others)
        play.send(play.message(b"data"))
        play.forward_from_clients()
        assert (list(others[0].cells), up.cells[0]) == ([0, 1], 1)
        play.entry.close()
        play.entry.limit(up, down)


def test_a_names_length_may_count_itself_in_dialect_212(forwarder: str) -> None:
    with running(forwarder, dialect=GO_212, layout=DatagramLayout.CONSISTENT) as play:
        counting = bytearray(play.message(b"by name", "abc.example", 53))
        counting[16] = len("abc.example") + 1
        play.entry.add_route(
            play.key(bytes(counting)), DatagramRoute(play.far, play.remote.getsockname(), LATER)
        )
        play.send(bytes(counting))
        play.forward_from_clients()
        assert everything(play.remote) == [b"by name"]


def test_what_an_upstream_sends_for_another_association_is_handed_up(forwarder: str) -> None:
    upstream = Socks6Framing(ID + 7, DRAFT_12, DRAFT_12.datagram_layout)
    with running(forwarder, framing=NoFraming(HOST, 53), upstream=upstream) as play:
        ours = play.beyond(b"data")
        another = ours[:11] + bytes((ours[11] ^ 1,)) + ours[12:]
        play.answer(ours, another)
        play.forward_from_remotes()
        assert everything(play.client) == [b"data"]
        assert [data for data, _ in play.down] == [another]


def test_a_datagram_that_fits_no_message_is_dropped(forwarder: str) -> None:
    with running(forwarder) as play:
        play.answer(bytes(65507))
        play.forward_from_remotes()
        assert (everything(play.client), play.forwarder.dropped) == ([], 1)
        play.answer(bytes(65400))
        play.forward_from_remotes()
        assert len(everything(play.client)) == 1


def test_what_the_kernel_does_not_take_is_dropped_and_not_counted(forwarder: str) -> None:
    with running(forwarder) as play:
        nowhere = ("255.255.255.255", 9)  # without SO_BROADCAST
        message = play.message(b"x" * 100, *nowhere)
        play.entry.add_route(play.key(message), DatagramRoute(play.far, nowhere, LATER))
        play.send(message, message, play.message(b"goes"))
        play.forward_from_clients()
        assert everything(play.remote) == [b"goes"]
        assert (play.entry.counts().up_datagrams, play.entry.counts().up_bytes, play.forwarder.dropped) == (
            1,
            4,
            2,
        )


def test_a_lane_that_is_its_owners_alone_is_collected(forwarder: str) -> None:
    """Whoever forgets to close one makes a circle: the owner has the lane, which tells the owner."""

    class Owner(SlowPath):
        entry: AssociationEntry

        @override
        def on_client_miss(self, data: bytes, path: ClientPath) -> None:
            pass

        @override
        def on_remote_miss(self, data: bytes, source: SocketAddress) -> None:
            pass

    made = forwarder_named(forwarder)()
    owner = Owner()
    owner.entry = made.open(FRAMING, NoFraming(), owner)
    gone = weakref.ref(owner)
    del owner
    if forwarder == "python":
        del made  # it knows its lanes
    gc.collect()
    assert gone() is None


@pytest.mark.e2e
@needs_namespaces
def test_a_datagram_too_long_for_the_path_has_shorter_ones_still_leave_together(forwarder: str) -> None:
    """As seen by a receiver to whom the kernel hands glued what was sent as one."""
    together = {"python": [b"short"] * 3, "compiled": [b"short" * 3]}  # the one in Python sends one by one
    with contextlib.closing(Namespace()) as here:
        here.configure("link set lo mtu 1500")
        with here.entered(), running(forwarder) as play:
            play.remote.setsockopt(socket.IPPROTO_UDP, UDP_GRO, 1)
            long = [bytes([number]) * 1490 for number in range(3)]  # each in two fragments
            play.send(*map(play.message, long))
            play.forward_from_clients()
            assert everything(play.remote) == long
            play.send(*[play.message(b"short")] * 3)
            play.forward_from_clients()
            assert everything(play.remote) == together[forwarder]
            assert (play.entry.counts().up_datagrams, play.entry.counts().up_bytes) == (6, 3 * 1490 + 15)


def test_bursts_of_every_size_keep_borders_and_order(forwarder: str) -> None:
    sizes = [200] * 70 + [1000, 1000, 999, 1000, 0, 1000, 0, 0, 5, 5, 6, 5] + [1400] * 30
    burst = [bytes([number]) * size for number, size in enumerate(sizes)]
    with running(forwarder) as play:
        for start in range(0, len(burst), 40):  # as many as fit a socket's buffer
            some = burst[start : start + 40]
            play.send(*map(play.message, some))
            play.forward_from_clients()
            assert everything(play.remote) == some
            play.answer(*some)
            play.forward_from_remotes()
            assert everything(play.client) == list(map(play.message, some))


def test_datagrams_that_the_kernel_glues_are_cut_again(forwarder: str) -> None:
    with running(forwarder) as play:
        play.remote.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 100)
        play.answer(bytes(250))
        play.remote.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 0)
        play.forward_from_remotes()
        assert everything(play.client) == [play.message(bytes(size)) for size in (100, 100, 50)]
        message = play.message(b"0123456789")
        play.client.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, len(message))
        play.send(message * 3)
        play.forward_from_clients()
        assert everything(play.remote) == [b"0123456789"] * 3


def test_several_associations_share_a_port(forwarder: str) -> None:
    with running(forwarder) as play, udp_socket() as other_client, udp_socket() as other_far:
        other = play.forwarder.open(play.framed(ID + 1), NoFraming(), play)
        other.bind_client(FiveTuple(play.port, other_client.getsockname(), b""), play.framed(ID + 1), [])
        where = play.remote.getsockname()
        other.add_route(play.key(play.message(b"")), DatagramRoute(other_far, where, LATER))
        other.add_source(where, play.prefix(number=ID + 1), LATER)
        for number in range(10):
            play.send(play.message(b"a%d" % number))
            play.send(play.message(b"b%d" % number, number=ID + 1), sock=other_client)
        play.forward_from_clients()
        found = everything(play.remote)
        assert sorted(found) == sorted(f"{who}{number}".encode() for who in "ab" for number in range(10))
        play.answer(b"for a")
        play.remote.sendto(b"for b", other_far.getsockname())
        ends = [
            play.forwarder.handle(play.entry, play.far),
            play.forwarder.handle(other, other_far),
        ]
        play.forwarder.forward_sockets(ends, 0.0)
        assert everything(play.client) == [play.message(b"for a")]
        assert decode_message(everything(other_client)[0])[0].association_id == ID + 1
        other.close()


def test_tables_are_bounded_and_forget(forwarder: str) -> None:
    with running(forwarder) as play:
        where = play.remote.getsockname()
        for port in range(1, MAX_ENTRIES + 1):
            play.entry.add_route(
                play.key(play.message(b"", "192.0.2.1", port)), DatagramRoute(play.far, where, LATER)
            )
            play.entry.add_source(("192.0.2.1", port), play.prefix("192.0.2.1", port), LATER)
        play.send(play.message(b"forgotten"), play.message(b"known", "192.0.2.1", MAX_ENTRIES))
        play.answer(b"forgotten")
        play.forward_from_clients()
        play.forward_from_remotes()
        assert everything(play.remote) == [b"known"]
        assert (len(play.up), len(play.down)) == (1, 1)


def test_an_error_told_meanwhile_costs_no_datagram(forwarder: str) -> None:
    with running(forwarder) as play:
        with udp_socket() as gone:
            nobody = gone.getsockname()
        play.far.setsockopt(socket.IPPROTO_IP, 11, 1)  # IP_RECVERR: ICMP errors are told by the next call
        for _ in range(3):
            play.far.sendto(b"lost", nobody)
            play.send(play.message(b"sent"))
            play.forward_from_clients()
            assert everything(play.remote) == [b"sent"]
            play.far.sendto(b"lost", nobody)
            play.answer(b"received")
            play.forward_from_remotes()
            assert everything(play.client) == [play.message(b"received")]


def test_ancillary_data_goes_with_everything(forwarder: str) -> None:
    with running(forwarder) as play:
        play.entry.bind_client(
            play.path, play.framing, [(socket.IPPROTO_IP, socket.IP_TTL, (7).to_bytes(4, "little"))]
        )
        play.client.setsockopt(socket.IPPROTO_IP, 12, 1)  # IP_RECVTTL
        play.answer(b"one", b"two", b"six")
        play.forward_from_remotes()
        for _ in range(3):
            _, control, _, _ = play.client.recvmsg(100, 100)
            assert control == [(socket.IPPROTO_IP, socket.IP_TTL, (7).to_bytes(4, "little"))]


def test_a_closed_lane_moves_nothing(forwarder: str) -> None:
    with running(forwarder) as play:
        play.entry.close()
        play.entry.close()
        play.allow()
        play.send(play.message(b"data"))
        play.answer(b"data")
        play.forward_from_clients()
        play.forward_from_remotes()
        assert (everything(play.remote), everything(play.client), play.up) == ([], [], [])


def test_a_lane_closed_while_others_move_is_no_harm(forwarder: str) -> None:
    with scene(forwarder) as play:
        closing = play.entry

        class Closer:
            def on_client_miss(self, data: bytes, path: object) -> None:
                closing.close()

            def on_remote_miss(self, data: bytes, source: SocketAddress) -> None:
                closing.close()

        other = play.forwarder.open(play.framed(ID + 1), NoFraming(), Closer())
        play.send(play.message(b"", number=ID + 1), play.message(b"late"))
        play.forward_from_clients()
        play.send(play.message(b"later"))
        play.forward_from_clients()
        assert b"later" not in [data[-5:] for data, _ in play.up]
        other.close()


def test_a_closed_socket_is_no_harm(forwarder: str) -> None:
    with running(forwarder) as play:
        play.send(play.message(b"data"))
        play.far.close()
        play.forward_from_clients()
        assert play.forwarder.dropped == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_socks5_client_has_a_socket_of_its_own(forwarder: str, host: str) -> None:
    with running(forwarder, host=host, framing=Socks5Framing()) as play, udp_socket(host) as stranger:
        play.send(
            play.message(b"one"), bytes.fromhex("0000 01 01 7f000001 0035") + b"fragment", play.message(b"")
        )
        play.send(play.message(b"a stranger's"), sock=stranger)
        play.forward_from_clients()
        assert everything(play.remote) == [b"one", b""]
        assert play.forwarder.dropped == 2
        play.answer(b"answer", b"")
        play.forward_from_remotes()
        assert everything(play.client) == [play.message(b"answer"), play.message(b"")]
        elsewhere = play.message(b"elsewhere", port=9)
        play.send(elsewhere)
        play.forward_from_clients()
        assert [data for data, _ in play.up] == [elsewhere]


@pytest.mark.parametrize("framing", [Socks5Framing(), NoFraming(HOST, 53)])
def test_datagrams_go_through_an_upstream_proxy(forwarder: str, framing: Framing) -> None:
    with running(forwarder, framing=framing, upstream=FRAMING) as play:
        play.send(play.message(b"one"), play.message(b"two"))
        play.forward_from_clients()
        assert everything(play.remote) == [play.beyond(b"one"), play.beyond(b"two")]
        error = DatagramError(association_id=ID, host=HOST, port=53, code=2, reporter=HOST).encode()
        play.answer(play.beyond(b"answer"), error, play.beyond(b"stranger's", "192.0.2.9"))
        play.forward_from_remotes()
        assert everything(play.client) == [play.message(b"answer")]
        assert [data for data, _ in play.down] == [error, play.beyond(b"stranger's", "192.0.2.9")]


def test_long_names_have_routes_and_sources_too(forwarder: str) -> None:
    name = ".".join(["x" * 60] * 4)
    with running(forwarder, framing=Socks5Framing(), upstream=FRAMING) as play:
        message = play.message(b"data", name, 53)
        prefix = play.upstream.prefix(name, 53)
        for _ in range(2):  # the second replaces the first
            play.entry.add_route(
                play.key(message), DatagramRoute(play.far, play.remote.getsockname(), LATER, prefix)
            )
        play.send(message)
        play.forward_from_clients()
        assert everything(play.remote) == [play.beyond(b"data", name)]


def test_sources_without_an_association_are_handed_up(forwarder: str) -> None:
    with running(forwarder, framing=NoFraming(HOST, 53)) as play, udp_socket() as stranger:
        play.send(b"known")
        play.send(b"unknown", b"", sock=stranger)
        play.forward_from_clients()
        assert everything(play.remote) == [b"known"]
        assert [(data, path.source) for data, path in play.up][:1] == [(b"unknown", stranger.getsockname())]
        play.entry.close()
        play.send(b"closed")
        play.forward_from_clients()
        assert everything(play.remote) == []


def test_a_connected_socket_needs_no_address(forwarder: str) -> None:
    with running(forwarder) as play:
        play.far.connect(play.remote.getsockname())
        play.entry.add_route(play.key(play.message(b"")), DatagramRoute(play.far, None, LATER))
        play.send(play.message(b"one"), play.message(b"two"))
        play.forward_from_clients()
        assert everything(play.remote) == [b"one", b"two"]


def test_an_association_knows_when_a_datagram_was_last_forwarded(forwarder: str) -> None:
    with running(forwarder) as play:
        assert play.entry.counts().last == 0.0
        play.send(play.message(b"there"))
        play.forward_from_clients(7.0)
        assert play.entry.counts().last == 7.0
        play.answer(b"back")
        play.forward_from_remotes(8.0)
        assert play.entry.counts().last == 8.0
        play.send(play.message(b"", "192.0.2.9"))
        play.forward_from_clients(9.0)
        assert play.entry.counts().last == 8.0
