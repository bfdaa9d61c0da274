"""A proxy may go wrong at any byte of its answers: the call fails as it should, the client is none the worse, and nothing
stays behind. `make deep` tries every byte."""

import asyncio
import contextlib
import itertools
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

import pytest

from socks6.client.client import Client
from socks6.errors import ProxyTimedOut, Socks6Error
from tests.kit.census import Census, settled
from tests.kit.faulty import ANSWERS, FAULTS, TRANSPORTS, FaultyProxy, faulty_proxy
from tests.kit.loops import LOOP_FACTORIES

LOOPS: Final = sorted(LOOP_FACTORIES)

IMPATIENT: Final = 0.05  # seconds that a silent proxy gets
PATIENT: Final = 20.0
APART: Final = 11  # bytes between two faults, for `make test`
SLACK: Final = 8
SECONDS: Final = 900.0

pytestmark = pytest.mark.e2e


async def noop(client: Client, timeout: float) -> None:
    await client.noop(timeout=timeout)


async def connect(client: Client, timeout: float) -> None:
    async with await client.connect("192.0.2.1", 80, timeout=timeout):
        pass


async def bind(client: Client, timeout: float) -> None:
    async with await client.bind(timeout=timeout) as listener, await listener.accept(timeout=timeout):
        pass


async def associate(client: Client, timeout: float) -> None:
    async with client.associate(udp="stream", timeout=timeout):
        pass


CALLS: Final[Mapping[str, Callable[[Client, float], Awaitable[None]]]] = {
    "noop": noop,
    "connect": connect,
    "bind": bind,
    "associate": associate,
}


def scenes(apart: int) -> Iterator[tuple[str, bytes, int, str]]:
    """Give a call, the whole answer, how much of it is good, and what happens then."""
    for name, answer in ANSWERS.items():
        for number, fault in enumerate(FAULTS):
            for good in range(number % apart, len(answer), apart):
                yield name, answer, good, fault


async def play(proxy: FaultyProxy, client: Client, apart: int) -> None:
    loop = asyncio.get_running_loop()
    for name, answer, good, fault in scenes(apart):
        proxy.misbehave(answer, good, fault)
        began = loop.time()
        timeout = IMPATIENT if fault == "silence" else PATIENT
        if fault in {"flip", "rubbish"}:  # which may be an answer, too, or the beginning of a longer one
            with contextlib.suppress(Socks6Error):
                await CALLS[name](client, IMPATIENT)
        else:
            with pytest.raises(Socks6Error) as caught:
                await CALLS[name](client, timeout)
            assert fault == "silence" or not isinstance(caught.value, ProxyTimedOut)
        assert loop.time() - began < PATIENT, (name, good, fault)
        proxy.behave()
        await client.noop(timeout=PATIENT)


async def main(transport: str, folder: Path, apart: int) -> None:
    loop = asyncio.get_running_loop()
    complaints: list[object] = []
    loop.set_exception_handler(lambda _, context: complaints.append(context))
    async with asyncio.timeout(SECONDS), faulty_proxy(transport, folder) as (proxy, url):
        async with Client(url) as client:
            await play(proxy, client, 1000)  # a first round, for what is kept
        before = Census.take()
        async with Client(url) as client:
            await play(proxy, client, apart)
        assert await settled(lambda: Census.take().more_than(before, slack=SLACK)) == {}
    assert not complaints


@pytest.mark.parametrize(
    ("transport", "loop_name", "apart"),
    [
        *((transport, loop_name, APART) for transport, loop_name in zip(TRANSPORTS, itertools.cycle(LOOPS))),
        *(
            pytest.param(transport, loop_name, 1, marks=pytest.mark.deep)
            for transport, loop_name in itertools.product(TRANSPORTS, LOOPS)
        ),
    ],
)
def test_whatever_a_proxy_does_wrong_ends_one_call(
    tmp_path: Path, transport: str, loop_name: str, apart: int
) -> None:
    with asyncio.Runner(loop_factory=LOOP_FACTORIES[loop_name]) as runner:
        runner.run(main(transport, tmp_path, apart))
