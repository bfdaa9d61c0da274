"""News of addresses, routes and links."""

import asyncio
import contextlib
import sys
from collections.abc import Callable, Iterator

import pytest

from socks6.net import network_changes
from socks6.net.datagrams.poller import DatagramPoller
from socks6.net.network_changes import NetworkChanges
from tests.kit.loops import Run
from tests.kit.netns import Namespace, needs_namespaces
from tests.kit.streams import until


@pytest.fixture
def machine() -> Iterator[Namespace]:
    """Be on a machine with nothing but a loopback interface."""
    namespace = Namespace()
    try:
        with namespace.entered():
            yield namespace
    finally:
        namespace.close()


@contextlib.contextmanager
def watched(callback: Callable[[], None]) -> Iterator[NetworkChanges]:
    """Give what calls back."""
    poller = DatagramPoller(lambda fault: pytest.fail(str(fault)))
    changes = NetworkChanges(callback, poller)
    try:
        yield changes
    finally:
        changes.close()
        poller.close()


@needs_namespaces
@pytest.mark.parametrize(
    "command",
    ["address add 192.0.2.1/32 dev lo", "route add blackhole 198.51.100.0/24", "link set lo down",
     "address add 2001:db8::1/128 dev lo nodad", "route add blackhole 2001:db8:1::/48"],
)  # fmt: skip
def test_each_kind_of_change_is_told(run: Run, machine: Namespace, command: str) -> None:
    async def scene() -> None:
        told = asyncio.Event()
        with watched(told.set):
            machine.configure(command)
            await told.wait()

    run(scene())


@needs_namespaces
def test_many_changes_are_told_of_once(run: Run, machine: Namespace) -> None:
    async def scene() -> None:
        told: list[float] = []
        with watched(lambda: told.append(asyncio.get_running_loop().time())):
            machine.configure(*(f"address add 192.0.2.{last}/32 dev lo" for last in range(1, 255)))
            await until(lambda: len(told) > 0)
            machine.configure(*(f"address del 192.0.2.{last}/32 dev lo" for last in range(1, 255)))
            await until(lambda: len(told) > 1)
            assert told[1] - told[0] >= network_changes.PAUSE * 0.9

    run(scene())


@needs_namespaces
def test_nothing_is_told_once_it_is_closed(run: Run, machine: Namespace) -> None:
    async def scene() -> None:
        told = asyncio.Event()
        with watched(lambda: pytest.fail("it was closed")) as first, watched(told.set):
            first.close()
            first.close()
            machine.configure("address add 192.0.2.1/32 dev lo")
            await told.wait()

    run(scene())


def test_a_system_that_does_not_tell_is_no_fault(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")

    async def scene() -> None:
        with watched(lambda: pytest.fail("nobody tells")):
            pass

    run(scene())
