"""What the frames of a peer may cost."""

import contextlib
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socks6.net.transports.quic.guard import (
    APPLICATION,
    CRYPTO_BYTES,
    EACH_PACKET,
    HANDSHAKE,
    INITIAL,
    MAX_OFFENDERS,
    MAX_PATH_FRAMES,
    MAX_WAITING_PIECES,
    OFFENCES_OF_OFFENDER,
    OFFENDED_SECONDS,
    STRANGER,
    SUSPECT,
    TRUSTED,
    ExcessiveFrames,
    FrameGuard,
    Offenders,
)
from tests.kit.quic_hostile import STORMS, new_id, number, stream_frame

ACK = b"\x02" + number(100) + number(0) + number(1) + number(3) + number(1) + number(2)
WHOLE_PACKET = 1_200


def charge(guard: FrameGuard, payloads: Iterable[bytes], kind: int = APPLICATION, weight: int = 1) -> None:
    """Have a guard look at packets that come at one time."""
    for payload in payloads:
        guard.packet(kind, payload, 99.0, weight)


def turns_until_excess(guard: FrameGuard, storm: str, most: int = 4_000) -> int:
    """Return how many packets of a storm a guard takes."""
    for turn in range(most):
        try:
            guard.packet(APPLICATION, STORMS[storm](turn), 0.0)
        except ExcessiveFrames:
            return turn
    raise AssertionError("it took them all")


@pytest.mark.parametrize("storm", STORMS)
def test_a_stranger_s_storm_ends_with_its_first_packets(storm: str) -> None:
    assert turns_until_excess(FrameGuard(0.0), storm) <= 9


@pytest.mark.parametrize("storm", STORMS)
def test_who_was_let_in_may_more_and_not_anything(storm: str) -> None:
    guard = FrameGuard(0.0)
    guard.trust()
    assert 9 < turns_until_excess(guard, storm) <= 150


def test_a_sampled_packet_counts_for_the_others() -> None:
    guard = FrameGuard(0.0)
    guard.trust()
    with pytest.raises(ExcessiveFrames, match="pieces"):
        charge(guard, (STORMS["every second byte"](turn) for turn in range(3)), weight=16)


@pytest.mark.slow
def test_bulk_costs_nothing_though_packets_are_lost_and_come_late() -> None:
    guard = FrameGuard(0.0)
    for turn in range(20_000):
        place = turn ^ 1 if turn % 7 else turn  # neighbours change places
        if turn % 50:  # and some come again, much later
            guard.packet(APPLICATION, ACK + stream_frame(0, place * WHOLE_PACKET, bytes(WHOLE_PACKET)), 0.0)
        elif turn >= 1_000:
            guard.packet(
                APPLICATION, stream_frame(0, (turn - 1_000) * WHOLE_PACKET, bytes(WHOLE_PACKET)), 0.0
            )
    assert not guard.trusted


@pytest.mark.slow
def test_small_messages_of_many_streams_cost_nothing() -> None:
    guard = FrameGuard(0.0)
    guard.trust()
    for turn in range(1_500):
        frames = b"".join(stream_frame(4 * at, 20 * turn, bytes(20)) for at in range(40))
        guard.packet(APPLICATION, frames, turn / 1_500)


def test_requests_that_are_made_at_once_are_no_storm() -> None:
    guard = FrameGuard(0.0)
    for turn in range(60):
        frames = b"".join(stream_frame(4 * (10 * turn + at), 0, bytes(80)) for at in range(10))
        guard.packet(APPLICATION, frames, 0.0)


def test_streams_that_are_given_up_at_once_are_no_storm() -> None:
    guard = FrameGuard(0.0)
    guard.trust()
    for turn in range(100):
        frames = b"".join(
            b"\x04" + number(4 * at) + b"\x01\x00\x05" + number(4 * at) + b"\x01"
            for at in range(20 * turn, 20 * turn + 20)
        )
        guard.packet(APPLICATION, frames, 0.0)


def test_the_accounts_fill_as_time_goes_by() -> None:
    guard = FrameGuard(0.0)
    pings = b"\x01" * (STRANGER.frames_a_second + EACH_PACKET)
    for second in range(100):
        guard.packet(APPLICATION, pings, float(second))
    with pytest.raises(ExcessiveFrames, match="frames"):
        charge(guard, [pings] * (STRANGER.frames // STRANGER.frames_a_second + 1))


def test_a_packet_that_had_been_there_is_not_charged() -> None:
    guard = FrameGuard(0.0)
    for _ in range(1_000):
        guard.packet(APPLICATION, new_id(3, 0) + b"\x01" * 200, 0.0)
        guard.take_back()
    for _ in range(STRANGER.ids):
        guard.packet(APPLICATION, new_id(3, 0), 0.0)
    with pytest.raises(ExcessiveFrames, match="ids"):
        guard.packet(APPLICATION, new_id(3, 0), 0.0)


def test_ids_that_are_retired_are_counted_too() -> None:
    guard = FrameGuard(0.0)
    guard.trust()
    with pytest.raises(ExcessiveFrames, match="ids"):
        charge(
            guard,
            (
                b"\x19" + number(turn) + bytes(1) + stream_frame(0, 99 * turn, bytes(99)) * 2
                for turn in range(TRUSTED.ids + 1)
            ),
        )


@pytest.mark.slow
def test_whole_pieces_wait_in_bounds() -> None:
    guard = FrameGuard(0.0)
    piece = stream_frame(0, 5_000, bytes(300))
    with pytest.raises(ExcessiveFrames, match="order"):
        charge(guard, [piece] * (MAX_WAITING_PIECES + 1))


def test_a_handshake_in_pieces_is_taken_and_an_endless_one_is_not() -> None:
    guard = FrameGuard(0.0)
    pieces = [b"\x06" + number(40 * at) + number(40) + bytes(40) for at in range(40)]
    guard.packet(INITIAL, b"\x01".join(reversed(pieces)), 0.0)  # as Chromium's are, with PINGs between them
    for kind in (INITIAL, HANDSHAKE, APPLICATION):
        with pytest.raises(ExcessiveFrames, match="handshake"):
            guard.packet(kind, b"\x06" + number(CRYPTO_BYTES[kind]) + b"\x01z", 0.0)
    with pytest.raises(ExcessiveFrames, match="order"):
        charge(
            guard, (b"\x06" + number(100 + 2 * at) + b"\x01z" for at in range(2 * STRANGER.pieces)), HANDSHAKE
        )


def test_what_was_delivered_is_in_order() -> None:
    guard = FrameGuard(0.0)
    for turn in range(5_000):  # only one packet in two is looked at
        guard.packet(APPLICATION, stream_frame(0, 20 * turn, bytes(10)), 0.0)
        guard.delivered(0, 20, ended=False)
    guard.delivered(0, 0, ended=True)
    guard.packet(APPLICATION, stream_frame(0, 0, b"again"), 0.0)


def test_the_bytes_of_datagram_frames_are_told() -> None:
    guard = FrameGuard(0.0)
    assert guard.packet(APPLICATION, b"\x31\x03abc" + b"\0\0" + b"\x30" + bytes(50), 0.0) == 53
    for _ in range(1_000):
        guard.packet(APPLICATION, b"\x31\x03abc", 0.0)
    guard.trust()
    for turn in range(1_000):
        guard.packet(APPLICATION, (b"\x31\x14" + bytes(20)) * 40, turn / 1_000)


def test_streams_whose_order_is_known_are_bounded() -> None:
    guard = FrameGuard(0.0)
    for turn in range(10_000):
        guard.packet(APPLICATION, stream_frame(4 * turn, 0, bytes(100)), 0.0)
    assert len(guard._orders) <= 4_096


def test_ids_that_are_empty_can_be_left_out() -> None:
    guard = FrameGuard(0.0)
    empty = b"\x18\x01\x00\x00" + bytes(16)
    payload = b"\x01" + empty + stream_frame(0, 0, b"abc") + new_id(3, 0) + empty
    guard.packet(APPLICATION, payload, 0.0)
    ping = b"\x01" + bytes(19)
    changed = guard.without_empty_ids(payload)
    assert changed == payload.replace(empty, ping)
    guard.packet(APPLICATION, changed, 0.0)
    assert guard.without_empty_ids(changed) is None
    guard.packet(APPLICATION, empty[:9], 0.0)
    assert guard.without_empty_ids(empty[:9]) == ping[:9]


def test_challenges_of_paths_are_found_and_become_pings() -> None:
    guard = FrameGuard(0.0)
    payload = b"\x01\x1aquestion" + b"\x1b" + b"response" + stream_frame(0, 0, b"abc")
    guard.packet(APPLICATION, payload, 0.0)
    assert [(kind, payload[at : at + 8]) for kind, at in guard.path_frames] == [
        (0x1A, b"question"),
        (0x1B, b"response"),
    ]
    changed = guard.without_challenges(payload)
    assert changed == payload.replace(b"\x1aquestion", b"\x01" + bytes(8))
    guard.packet(APPLICATION, changed, 0.0)
    assert guard.without_challenges(changed) is None
    guard.packet(APPLICATION, b"\x1acut", 0.0)
    assert not guard.path_frames
    guard.packet(APPLICATION, b"\x1b" * 9 * 20, 0.0)
    assert len(guard.path_frames) == MAX_PATH_FRAMES


def test_strangers_of_a_source_that_offends_again_and_again_may_less_for_a_while() -> None:
    offenders = Offenders()
    for _ in range(OFFENCES_OF_OFFENDER):
        assert not offenders.has("192.0.2.1", 5.0)
        offenders.note("192.0.2.1", 5.0)
    assert offenders.has("192.0.2.1", 5.0)
    assert not offenders.has("192.0.2.2", 5.0)
    assert not offenders.has("192.0.2.1", 5.0 + OFFENDED_SECONDS)
    offenders.note("192.0.2.1", 5.0 + OFFENDED_SECONDS)
    assert not offenders.has("192.0.2.1", 5.0 + OFFENDED_SECONDS)
    for other in range(MAX_OFFENDERS):
        offenders.note(str(other), 6.0)
    assert len(offenders._sources) == MAX_OFFENDERS


def test_a_suspect_may_less_until_it_is_let_in() -> None:
    guard = FrameGuard(0.0)
    guard.suspect()
    guard.packet(APPLICATION, b"\x01" * SUSPECT.frames, 0.0)
    guard.trust()
    guard.suspect()
    guard.packet(APPLICATION, b"\x01" * STRANGER.frames, 0.0)
    again = FrameGuard(0.0)
    again.suspect()
    with pytest.raises(ExcessiveFrames):
        again.packet(APPLICATION, b"\x01" * (SUSPECT.frames + EACH_PACKET + 1), 0.0)


@given(
    payload=st.binary(max_size=200)
    | st.lists(st.sampled_from([STORMS[name](1) for name in STORMS])).map(b"".join),
    kind=st.integers(0, 3),
    trusted=st.booleans(),
)
def test_any_bytes_are_read_to_an_end(payload: bytes, kind: int, trusted: bool) -> None:
    guard = FrameGuard(0.0)
    if trusted:
        guard.trust()
    with contextlib.suppress(ExcessiveFrames):
        assert guard.packet(kind, payload, 1.0) >= 0
