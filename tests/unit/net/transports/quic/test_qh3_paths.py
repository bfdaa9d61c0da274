"""A client's address is another once that is proven, and gets little before."""

from socks6.net.transports.quic.qh3_paths import CHALLENGE_SECONDS, FULL_BYTES, MAX_CHALLENGES, ClientPaths

HOME, AWAY, VICTIM = (("192.0.2.1", 1), ("192.0.2.2", 2), ("192.0.2.3", 3))
OVERHEAD = 29
CHALLENGE, RESPONSE = 0x1A, 0x1B


def asked(paths: ClientPaths, now: float = 0.0) -> bytes:
    """Return the data of the challenge that is sent to the candidate; empty if nothing is."""
    assert paths.candidate is not None
    if not paths.candidate.is_due(now) or (frames := paths.candidate.frames(now, OVERHEAD)) is None:
        return b""
    assert frames[0] == CHALLENGE
    return frames[1:9]


def test_a_client_has_moved_once_it_sends_from_there_and_has_answered() -> None:
    paths = ClientPaths(HOME)
    assert not paths.arrived(AWAY, 40, (), newest=True)
    challenge = asked(paths)
    assert not paths.arrived(AWAY, 40, [(RESPONSE, b"no match")], newest=True)
    assert paths.current == HOME
    assert paths.arrived(AWAY, 40, [(RESPONSE, challenge)], newest=True)
    assert (paths.current, paths.candidate) == (AWAY, None)


def test_an_address_that_is_only_probed_is_proven_and_not_used() -> None:
    """RFC 9000 §9.1."""
    paths = ClientPaths(HOME)
    assert not paths.arrived(AWAY, 1200, [(CHALLENGE, b"question")], newest=True)
    candidate = paths.candidate
    assert candidate is not None
    frames = candidate.frames(0.0, OVERHEAD)
    assert frames is not None
    assert frames[:10] == b"\x1bquestion\x1a"
    assert len(frames) + OVERHEAD == FULL_BYTES
    assert not paths.arrived(AWAY, 40, [(RESPONSE, frames[10:18])], newest=True)
    assert not candidate.is_due(10.0)
    assert not paths.arrived(AWAY, 1200, [(CHALLENGE, b"another?")], newest=True)
    assert candidate.is_due(10.0)
    assert (candidate.frames(10.0, OVERHEAD) or b"").rstrip(b"\0") == b"\x1banother?"
    assert paths.current == HOME
    assert paths.arrived(AWAY, 40, (), newest=True)
    assert paths.current == AWAY


def test_an_address_gets_three_times_what_came_from_there() -> None:
    """RFC 9000 §8.2."""
    paths = ClientPaths(HOME)
    paths.arrived(VICTIM, 10, (), newest=True)
    assert not asked(paths)
    got = 0
    for turn in range(1, 10):
        paths.arrived(VICTIM, 10, (), newest=True)
        assert paths.candidate is not None
        frames = paths.candidate.frames(float(turn), OVERHEAD)
        got += 0 if frames is None else OVERHEAD + len(frames)
        assert got <= 3 * 10 * (turn + 1)
    assert got


def test_challenges_are_repeated_after_a_while_and_late_answers_count() -> None:
    paths = ClientPaths(HOME)
    paths.arrived(AWAY, 1200, (), newest=True)
    first = asked(paths, 1.0)
    assert not asked(paths, 1.0 + CHALLENGE_SECONDS / 2)
    for turn in range(1, MAX_CHALLENGES):
        paths.arrived(AWAY, 1200, (), newest=True)
        assert asked(paths, 1.0 + turn) not in {b"", first}
    assert paths.arrived(AWAY, 40, [(RESPONSE, first)], newest=True)


def test_old_packets_and_the_answers_of_others_move_nothing() -> None:
    paths = ClientPaths(HOME)
    assert not paths.arrived(VICTIM, 1200, (), newest=False)
    assert paths.candidate is None
    paths.arrived(AWAY, 1200, (), newest=True)
    challenge = asked(paths)
    assert not paths.arrived(VICTIM, 1200, [(RESPONSE, challenge)], newest=True)
    assert paths.current == HOME
