"""Turns of the event loop."""

import asyncio

from socks6.net.turns import BUDGET, EVENT, Turns
from tests.kit.loops import Run


def test_a_turn_is_given_back_when_the_loop_has_gone_round(run: Run) -> None:
    async def main() -> None:
        turns = Turns()
        for _ in range(BUDGET // EVENT):
            assert turns.left > 0
            turns.left -= EVENT
        assert turns.left <= 0
        others: list[int] = []
        asyncio.get_running_loop().call_soon(others.append, 1)
        await turns.take()
        assert (others, turns.left) == ([1], BUDGET)
        turns.left = 0
        turns.waited()
        assert turns.left == BUDGET

    run(main())
