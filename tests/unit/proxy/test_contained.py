"""Observers that raise."""

import asyncio

from typing_extensions import override

from socks6.proxy.contained import ContainedObserver, contained
from socks6.telemetry import NullObserver, Observer
from tests.kit.loops import Run


class Raising(NullObserver):
    """Raises wherever it can."""

    @override
    def listening(self, url: str) -> None:
        raise ZeroDivisionError(url)


class Told(NullObserver):
    """Remembers."""

    def __init__(self) -> None:
        self.urls: list[str] = []

    @override
    def listening(self, url: str) -> None:
        self.urls.append(url)


def test_what_an_observer_raises_goes_to_the_loops_handler_once(run: Run) -> None:
    async def scene() -> None:
        told: list[BaseException | None] = []
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: told.append(context.get("exception"))
        )
        observer = contained(Raising())
        observer.listening("here")
        observer.stopping(1)
        assert [repr(error) for error in told] == ["ZeroDivisionError('here')"]

    run(scene())


def test_it_is_told_all_that_an_observer_is() -> None:
    inner = Told()
    observer = contained(inner)
    observer.listening("here")
    assert inner.urls == ["here"]
    methods = {name for name in vars(Observer) if not name.startswith("_")}
    assert methods <= set(vars(observer))


def test_nothing_is_contained_twice() -> None:
    observer = contained(NullObserver())
    assert isinstance(observer, ContainedObserver)
    assert contained(observer) is observer
