"""Events, and how they reach observers."""

import asyncio
import dataclasses
import logging

import pytest
from typing_extensions import override

from socks6.telemetry import (
    ConnectionEnded,
    ConnectionOpened,
    Ending,
    Event,
    EventHub,
    Listening,
    Observer,
    Reloaded,
    Stopping,
    log_contained,
)
from tests.kit.loops import Run

OPENED = ConnectionOpened(id=1, source="192.0.2.1", inbound="socks6")


class Keeping(Observer):
    """Keeps what it wants."""

    def __init__(self, *wants: type[Event]) -> None:
        self.events: list[Event] = []
        if wants:
            self.wants = wants

    @override
    def observe(self, event: Event) -> None:
        self.events.append(event)


class Raising(Observer):
    """Raises at every event."""

    @override
    def observe(self, event: Event) -> None:
        raise ZeroDivisionError(event)


def test_events_cannot_change() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        OPENED.source = "192.0.2.2"  # type: ignore[misc]  # the very thing that is tested


def test_endings_are_words_for_logs() -> None:
    assert all(ending.value.replace("-", "").isalpha() and ending.value.islower() for ending in Ending)


def test_each_observer_gets_what_it_wants() -> None:
    everything, opened = Keeping(), Keeping(ConnectionOpened)
    hub = EventHub([everything, opened])
    for event in (Listening(url="here"), OPENED):
        hub.observe(event)
    assert everything.events == [Listening(url="here"), OPENED]
    assert opened.events == [OPENED]


def test_an_event_is_wanted_if_any_observer_wants_it() -> None:
    hub = EventHub([Keeping(ConnectionEnded), Keeping(Listening)])
    assert ConnectionEnded in hub.wanted
    assert ConnectionOpened not in hub.wanted
    assert ConnectionEnded not in EventHub().wanted
    assert ConnectionOpened in EventHub([Keeping()]).wanted


def test_an_observer_that_wants_nothing_gets_nothing() -> None:
    nothing = Keeping()
    nothing.wants = ()
    EventHub([nothing]).observe(OPENED)
    assert nothing.events == []


def test_an_observer_that_raises_is_logged_and_keeps_none_of_the_others_from_it(run: Run) -> None:
    async def scene() -> None:
        errors: list[BaseException | None] = []
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: errors.append(context.get("exception"))
        )
        before, after = Keeping(), Keeping()
        EventHub([before, Raising(), after]).observe(Stopping(connections=1))
        assert [type(error) for error in errors] == [ZeroDivisionError]
        assert before.events == after.events == [Stopping(connections=1)]

    run(scene())


def test_outside_a_loop_it_goes_to_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR, logger="socks6"):
        log_contained("an observer", ZeroDivisionError())
    assert caplog.messages == ["an observer raised"]


def test_an_observer_says_what_it_does() -> None:
    with pytest.raises(TypeError, match="observe"):
        Observer()  # type: ignore[abstract]  # the very thing that is tested


def test_an_observer_that_comes_later_gets_what_it_wants_until_it_leaves() -> None:
    hub, late = EventHub(), Keeping(Reloaded)
    hub.attach(late)
    assert hub.wanted == {Reloaded}
    hub.observe(Reloaded())
    hub.detach(late)
    hub.detach(late)
    hub.observe(Reloaded())
    assert (late.events, hub.wanted) == ([Reloaded()], frozenset())
