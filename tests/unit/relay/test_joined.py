"""The state machine of a relay, with directions that move nothing by themselves."""

import errno
from typing import Final

import pytest

from socks6.compat import override
from socks6.relay.joined import Direction, DirectionState, JoinedStreams, SendingFailed
from socks6.telemetry import Ending

RESET: Final = ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")
FLOWING, FINISHING, FINISHED, CUT, DROPPING = DirectionState


class Recorded(Direction):
    """Notes what the machine asks of its mover."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def finish(self, *, at_once: bool = True) -> None:
        """Be a mover whose source has ended."""
        self.state = FINISHED if at_once else FINISHING
        self.joined.settle()

    @override
    def source_failed(self, error: OSError) -> None:
        self.asked.append("source failed")

    @override
    def discard(self) -> None:
        self.asked.append("discard")

    @override
    def wake(self) -> None:
        self.asked.append("wake")

    @override
    def leave(self) -> None:
        self.asked.append("leave")


class Scene(JoinedStreams):
    """A client and a remote; how often the relay ended."""

    up: Recorded
    down: Recorded

    def __init__(self) -> None:
        super().__init__(Recorded(), Recorded())
        self.ends = 0
        self.end_with(self._count)

    def _count(self) -> None:
        self.ends += 1

    @override
    async def run(self, first: bytes) -> None:
        raise NotImplementedError

    @property
    def states(self) -> tuple[DirectionState, DirectionState]:
        return self.up.state, self.down.state

    @property
    def outcome(self) -> tuple[bool, Ending, str, int]:
        return self.over, self.ending, self.reason, self.ends


def test_it_is_done_once_both_directions_are() -> None:
    scene = Scene()
    scene.up.bytes_moved, scene.down.bytes_moved = 3, 4
    scene.up.finish()
    assert (scene.over, scene.half_closed(), scene.both_ended) == (False, True, False)
    scene.down.finish(at_once=False)
    assert (scene.over, scene.both_ended, scene.down.complete, scene.down.over) == (False, True, True, False)
    scene.down.finish()
    assert scene.outcome == (True, Ending.DONE, "", 1)
    assert (scene.bytes_up, scene.bytes_down) == (3, 4)
    assert [direction.asked for direction in (scene.up, scene.down)] == [["leave"], ["leave"]]


def test_a_source_that_breaks_cuts_both_directions() -> None:
    scene = Scene()
    scene.up.fail(RESET)
    assert scene.states == (CUT, CUT)
    assert scene.outcome == (True, Ending.RESET, "client: Connection reset by peer", 1)
    assert not scene.up.complete
    assert not scene.down.complete
    assert "discard" in scene.up.asked
    assert "discard" in scene.down.asked


def test_what_was_finished_before_the_source_broke_stays_finished() -> None:
    scene = Scene()
    scene.down.finish()
    scene.up.fail(RESET)
    assert scene.states == (CUT, FINISHED)
    assert scene.down.complete


def test_a_sink_that_breaks_ends_its_direction_alone() -> None:
    scene = Scene()
    scene.up.fail(SendingFailed.by(RESET))
    assert scene.states == (DROPPING, FLOWING)
    assert scene.outcome == (False, Ending.STOPPED, "remote: Connection reset by peer", 0)
    assert scene.up.asked == ["discard", "wake"]  # its source is read on
    assert scene.down.asked == ["source failed", "wake"]  # the answer that stands in our socket's buffer
    scene.down.finish()
    assert scene.outcome == (True, Ending.RESET, "remote: Connection reset by peer", 1)
    assert not scene.up.complete


def test_a_sink_that_breaks_when_the_other_direction_is_over_ends_the_relay() -> None:
    scene = Scene()
    scene.up.finish()
    scene.down.fail(SendingFailed.by(RESET))
    assert scene.outcome == (True, Ending.RESET, "client: Connection reset by peer", 1)
    assert "wake" not in scene.down.asked


def test_the_first_reason_and_the_first_end_count() -> None:
    scene = Scene()
    scene.up.fail(SendingFailed.by(RESET))
    scene.up.fail(TimeoutError("too late"))
    assert scene.reason == "remote: Connection reset by peer"
    scene.expire("idle")
    scene.end(Ending.DONE, "again")
    assert scene.outcome == (True, Ending.RESET, "remote: Connection reset by peer", 1)


def test_a_fault_of_ours_ends_it() -> None:
    scene = Scene()
    scene.down.fail(ValueError("ours"))
    assert scene.outcome == (True, Ending.ERROR, "ValueError('ours')", 1)


def test_silence_ends_it() -> None:
    scene = Scene()
    scene.expire("nothing moved for 5 s")
    assert scene.outcome == (True, Ending.IDLE, "nothing moved for 5 s", 1)


@pytest.mark.parametrize("side", ["up", "down"])
def test_bytes_and_ends_are_activity(side: str) -> None:
    scene = Scene()
    direction = getattr(scene, side)
    seen = [scene.activity()]
    direction.bytes_moved += 1
    seen.append(scene.activity())
    direction.finish()
    seen.append(scene.activity())
    assert seen == sorted(set(seen))


def test_the_last_user_unties_it() -> None:
    scene = Scene()
    scene.dissolve()
    assert scene.over
    assert not any(hasattr(direction, "joined") for direction in (scene.up, scene.down))
