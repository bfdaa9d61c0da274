"""Whatever two peers do, every mover gives both the same bytes, the same ends and the same result."""

import asyncio
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socks6.net.stream import ByteStream
from socks6.relay.joined import Direction, DirectionState
from socks6.telemetry import Ending
from tests.kit.joined import Joined, joined
from tests.kit.loops import LOOP_FACTORIES, Run
from tests.kit.strategies import examples
from tests.kit.streams import receive_exactly

MOVERS = ("tcp", "tcp without pipes", "tcp copied", "tls", "tls to tcp", "memory", "mixed")
CLIENT, REMOTE = 0, 1
STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.sampled_from([CLIENT, REMOTE]), st.sampled_from([1, 100, 65_535, 65_536, 65_537, 200_000])
        ),
        st.tuples(st.sampled_from([CLIENT, REMOTE]), st.just("end")),
        st.tuples(st.sampled_from([CLIENT, REMOTE]), st.just("reset")),
    ),
    max_size=8,
)


@dataclass
class Model:
    """What a relay does, by the rules at the top of `relay.joined`, when each step has its effect before the next."""

    ended: list[bool] = field(default_factory=lambda: [False, False])
    moved: list[int] = field(default_factory=lambda: [0, 0])
    reset_by: int | None = None


async def send(scene: Joined, side: int, size: int, model: Model) -> None:
    peers = scene.client, scene.remote
    data = bytes([side + 1]) * size
    async with asyncio.TaskGroup() as group:
        group.create_task(peers[side].send(data))
        assert await receive_exactly(peers[1 - side], size) == data
    model.moved[side] += size


async def end(scene: Joined, side: int, model: Model) -> None:
    peers = scene.client, scene.remote
    await peers[side].send_eof()
    assert await peers[1 - side].receive() == b""
    model.ended[side] = True


async def was_cut(stream: ByteStream) -> bool:
    try:
        return await stream.receive() != b""
    except OSError:
        return True


async def take_steps(scene: Joined, steps: list[tuple[int, int | str]], model: Model) -> None:
    """Take the steps until a peer has reset; then end what has not ended."""
    for side, step in [*steps, (CLIENT, "end"), (REMOTE, "end")]:
        if model.ended[side]:
            continue
        if step == "reset":
            model.reset_by = side
            (scene.client, scene.remote)[side].abort()
            return
        if isinstance(step, int):
            await send(scene, side, step, model)
        else:
            await end(scene, side, model)


async def play(path: str, steps: list[tuple[int, int | str]]) -> None:
    model = Model()
    async with joined(path) as scene, asyncio.timeout(10):
        await take_steps(scene, steps, model)
        if model.reset_by is not None:
            assert await was_cut((scene.client, scene.remote)[1 - model.reset_by])
        result = await scene.result()
    assert (result.bytes_up, result.bytes_down) == tuple(model.moved)
    if model.reset_by is None:
        assert result.ending is Ending.DONE
    else:
        assert result.ending is Ending.RESET
        assert result.reason.startswith("client: " if model.reset_by == CLIENT else "remote: ")


@pytest.mark.parametrize("loop", LOOP_FACTORIES)
@pytest.mark.parametrize("path", MOVERS)
@examples(25)
@given(steps=STEPS)
def test_every_mover_follows_the_state_machine(
    loop: str, path: str, steps: list[tuple[int, int | str]]
) -> None:
    Run(loop)(play(path, steps))


def test_a_direction_is_over_when_nothing_more_reaches_its_sink() -> None:
    direction = Direction()
    seen = {}
    for state in DirectionState:
        direction.state = state
        seen[state.name] = (direction.ended, direction.over, direction.complete)
    assert seen == {
        "FLOWING": (False, False, False),
        "FINISHING": (True, False, True),
        "FINISHED": (True, True, True),
        "CUT": (True, True, False),
        "DROPPING": (True, True, False),
    }
