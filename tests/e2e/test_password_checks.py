"""What password checks cost honest clients when many come at a time: real hashes, at the speed of this machine."""

import asyncio
import itertools
import time
from collections.abc import Callable
from typing import Final

import pytest

from socks6.message.requests import Request
from socks6.net.stream import Protection
from socks6.proxy.authentication.hashes import PasswordHash, hash_password, parse_hash
from socks6.proxy.authentication.table import THREADS, UserTable
from socks6.proxy.authentication.verification import CHECKS_PER_SOURCE
from socks6.proxy.worker import ServerWorker
from tests.kit.loops import Run
from tests.kit.memory import memory_stream_pair
from tests.kit.reading import receive_all
from tests.kit.session_scene import Placed, credentials

pytestmark = [pytest.mark.e2e, pytest.mark.deep]

Record = Callable[[str, object], None]

BURST: Final = 950
RETURNING: Final = 60
SOURCES: Final = 20


def seconds_of(hashed: PasswordHash) -> float:
    """Return how long a check takes on this machine now, if nothing else is checked."""
    began = time.monotonic()
    for _ in range(3):
        assert hashed.matches(b"secret")
    return (time.monotonic() - began) / 3


async def let_in(worker: ServerWorker, name: str, password: str, source: str) -> bool:
    """Make a request by which nothing is done; return whether the client was let in."""
    near, far = memory_stream_pair()
    request = Request(command=0, host="0.0.0.0", port=0, options=(credentials(name, password),))
    await near.send(request.encode())
    await near.send_eof()
    await worker.serve_stream(Placed(far, source, Protection.CLEAR))
    return (await receive_all(near))[1:2] == b"\0"


def test_a_burst_of_wrong_passwords_costs_an_honest_user_a_few_checks(
    run: Run, record_property: Record
) -> None:
    hashed = parse_hash(hash_password("secret"))
    alone = seconds_of(hashed)

    async def play() -> None:
        worker = ServerWorker(authenticator=UserTable({"alice": hashed, "bob": hashed}))
        async with asyncio.TaskGroup() as group:
            burst = [
                group.create_task(let_in(worker, "alice", f"wrong{number}", "203.0.113.5"))
                for number in range(BURST)
            ]
            await asyncio.sleep(0)
            began = time.monotonic()
            assert await let_in(worker, "bob", "secret", "203.0.113.6")
            took = time.monotonic() - began
        assert not any(task.result() for task in burst)
        figures = f"{took * 1e3:.0f} ms beside {BURST} wrong passwords; one check alone {alone * 1e3:.0f} ms"
        record_property("an honest login", figures)
        print(figures)
        assert took < 5.0 + (CHECKS_PER_SOURCE + THREADS + 1) * 3 * alone

    run(play())


def test_users_who_come_back_together_are_all_let_in_in_order(record_property: Record) -> None:
    hashed = parse_hash(hash_password("secret"))
    alone = seconds_of(hashed)

    async def play() -> None:
        worker = ServerWorker(
            authenticator=UserTable({f"user{number}": hashed for number in range(RETURNING)})
        )
        came_in: list[int] = []

        async def come(number: int) -> None:
            for seconds in itertools.repeat(1):
                if await let_in(worker, f"user{number}", "secret", f"203.0.113.{number % SOURCES}"):
                    came_in.append(number)
                    return
                await asyncio.sleep(seconds)  # it was busy

        began = time.monotonic()
        async with asyncio.timeout(60 + RETURNING * alone * 3), asyncio.TaskGroup() as group:
            for number in range(RETURNING):
                group.create_task(come(number))
        took = time.monotonic() - began
        late = max(abs(place - number) for place, number in enumerate(came_in))
        figures = (
            f"{RETURNING} users in after {took:.1f} s, {RETURNING / took:.1f} a second; one check alone"
            f" {alone * 1e3:.0f} ms; nobody more than {late} places from its turn"
        )
        record_property("returning users", figures)
        print(figures)
        assert late <= RETURNING / 2

    asyncio.run(play())  # it may take longer than other tests
