"""Whatever bytes come, the forwarder in C does as the one in Python does."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from socks6.message.dialect import DRAFT_12, GO_212, DatagramLayout, Dialect
from socks6.message.framing import Framing, NoFraming, Socks5Framing, Socks6Framing
from socks6.net.stream import DatagramRoute
from socks6.relay.datagrams.forwarder import FiveTuple
from tests.kit.forwarding_scene import HOST, ID, LATER, Scene, everything, running

HEADERS = st.builds(
    lambda version, kind, length, number, middle, rest: (
        bytes((version, kind)) + length.to_bytes(2) + number.to_bytes(8) + middle + rest
    ),
    st.sampled_from((6, 0xD4, 5)),
    st.sampled_from((3, 3, 3, 1, 4)),
    st.one_of(st.integers(0, 60), st.integers(0, 0xFFFF)),
    st.sampled_from((ID, ID, ID, ID + 1)),
    st.one_of(
        st.binary(min_size=4, max_size=4),
        st.sampled_from(
            [
                bytes.fromhex(text)
                for text in ("01000035", "00350001", "03000035", "04000035", "01000100", "00010001")
            ]
        ),
    ),
    st.binary(max_size=60),
)


@st.composite
def packets(draw: st.DrawFn) -> bytes:
    """Return a message that is whole, or nearly, or anything."""
    packet = draw(st.one_of(HEADERS, st.binary(max_size=80)))
    if draw(st.booleans()) and len(packet) > 3:
        packet = packet[:2] + len(packet).to_bytes(2) + packet[4:]
    return packet


def counts(play: Scene) -> tuple[int, ...]:
    """Return how much an association says went, and how many its forwarder dropped."""
    entry = play.entry
    return (
        entry.counts().up_datagrams, entry.counts().up_bytes, entry.counts().down_datagrams, entry.counts().down_bytes, play.forwarder.dropped,
    )  # fmt: skip


def outcome(play: Scene, packet: bytes) -> tuple[list[bytes], list[bytes], int]:
    """Return what reached the remote host, what was handed up, and how many were dropped."""
    before = play.forwarder.dropped
    play.up.clear()
    play.send(packet)
    play.forward_from_clients()
    dropped = play.forwarder.dropped - before
    return everything(play.remote), [data for data, _ in play.up], dropped


@pytest.mark.parametrize("layout", list(DatagramLayout))
@pytest.mark.parametrize("dialect", [DRAFT_12, GO_212])
def test_both_movers_do_the_same(dialect: Dialect, layout: DatagramLayout) -> None:
    with (
        running("python", dialect=dialect, layout=layout) as one,
        running("compiled", dialect=dialect, layout=layout) as other,
    ):

        @given(packets(), st.booleans())
        def check(packet: bytes, known: bool) -> None:
            if known:  # the address that has a way: otherwise none would ever be met
                size = len(one.message(b"")) - 4
                packets_of = [play.message(b"")[12 : 4 + size] for play in (one, other)]
                outcomes = [
                    outcome(play, packet[:12] + way + packet[12 + len(way) :])
                    for play, way in zip((one, other), packets_of, strict=True)
                ]
                handed = [len(data) for data in outcomes[0][1]], [len(data) for data in outcomes[1][1]]
                assert handed[0] == handed[1]
                assert (outcomes[0][0], outcomes[0][2]) == (outcomes[1][0], outcomes[1][2])
            else:
                assert outcome(one, packet) == outcome(other, packet)

        check()


FORBIDDEN = ("255.255.255.255", 9)  # without SO_BROADCAST the kernel takes nothing for it


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(0, 5)), max_size=40), st.booleans())
def test_both_movers_count_what_the_kernel_took(burst: list[tuple[bool, bool, int]], reachable: bool) -> None:
    """Some go up and some down, to places that take them and to some that do not."""
    with running("python") as one, running("compiled") as other:
        for play in (one, other):
            forbidden = play.message(b"", *FORBIDDEN)
            play.entry.add_route(play.key(forbidden), DatagramRoute(play.far, FORBIDDEN, LATER))
            for number, (is_up, taken, size) in enumerate(burst):
                data = bytes([number]) * size
                if not is_up:
                    play.answer(data)
                elif taken:
                    play.send(play.message(data))
                else:
                    play.send(play.message(data, *FORBIDDEN))
            play.forward_from_clients()
            if not reachable:
                play.entry.bind_client(FiveTuple(play.port, FORBIDDEN, b""), play.framing, [])
            play.forward_from_remotes()
        assert everything(one.remote) == everything(other.remote)
        assert len(everything(one.client)) == len(everything(other.client))
        assert counts(one) == counts(other)
        up = [size for is_up, taken, size in burst if is_up and taken]
        down = [size for is_up, _, size in burst if not is_up and reachable]
        assert counts(one) == (len(up), sum(up), len(down), sum(down), len(burst) - len(up) - len(down))


CLIENTS: dict[str, Framing] = {"socks5": Socks5Framing(), "none": NoFraming(HOST, 53)}
UPSTREAMS: dict[str, Framing] = {
    "hosts": NoFraming(),
    "draft": Socks6Framing(ID + 7, DRAFT_12, DatagramLayout.DRAFT),
    "go": Socks6Framing(ID + 7, GO_212, DatagramLayout.CONSISTENT),
}


@pytest.mark.parametrize("upstream", UPSTREAMS.values(), ids=UPSTREAMS)
@pytest.mark.parametrize("framing", CLIENTS.values(), ids=CLIENTS)
def test_both_forwarders_do_the_same_between_any_two_framings(framing: Framing, upstream: Framing) -> None:
    """A datagram of either side with one byte wrong, or cut short, or anything."""
    with (
        running("python", framing=framing, upstream=upstream) as one,
        running("compiled", framing=framing, upstream=upstream) as other,
    ):

        @given(
            st.binary(max_size=40), st.integers(0, 60), st.integers(0, 255), st.integers(0, 9), st.booleans()
        )
        @example(b"whole", 60, 0, 0, True)
        @example(b"whole", 60, 0, 0, False)
        def check(data: bytes, place: int, byte: int, cut: int, is_up: bool) -> None:
            results = []
            for play in (one, other):
                play.up.clear()
                play.down.clear()
                packet = bytearray(play.message(data) if is_up else play.beyond(data))
                if place < len(packet):
                    packet[place] = byte
                packet = packet[: len(packet) - cut]
                if is_up:
                    play.send(bytes(packet))
                    play.forward_from_clients()
                else:
                    play.answer(bytes(packet))
                    play.forward_from_remotes()
                handed_up = len(play.up), len(play.down)
                gone = everything(play.remote), [len(message) for message in everything(play.client)]
                results.append((handed_up, gone, counts(play)))
            assert results[0] == results[1]

        check()
        assert one.entry.counts().up_datagrams
        assert one.entry.counts().down_datagrams
