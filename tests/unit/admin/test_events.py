"""The events of a proxy for those who follow them."""

import asyncio
import json

import pytest

from socks6.admin.events import FOLLOWERS, KINDS, RING, EventFeed, TooManyFollowers, fields_of
from socks6.proxy.worker import ServerWorker
from socks6.telemetry import ConnectionOpened, Event, RequestMade, SessionOpened, UnexpectedError
from tests.kit.admin import bridge_of
from tests.kit.loops import Run

EVERYTHING = frozenset(KINDS.values())


def opened(number: int) -> Event:
    return SessionOpened(id=number, user="alice")


def test_events_are_made_only_while_they_are_followed(run: Run) -> None:
    async def play() -> None:
        worker = ServerWorker()
        feed = EventFeed(bridge_of(worker))
        events = worker.events
        assert not events.wanted
        first = feed.follow({SessionOpened})
        second = feed.follow({SessionOpened, RequestMade})
        assert await anext(first) == await anext(second) == ": follows\n\n"
        await asyncio.sleep(0)
        assert events.wanted == {SessionOpened, RequestMade}
        events.observe(opened(7))
        events.observe(RequestMade(id=8, user="", command="BIND", host="", port=0))
        assert (await anext(first)).splitlines()[:2] == ["id: 1", "event: SessionOpened"]
        assert (await anext(second)).count("event: ") == 2
        await second.aclose()
        await asyncio.sleep(0)
        assert events.wanted == {SessionOpened}
        await first.aclose()
        await asyncio.sleep(0)
        assert not events.wanted

    run(play())


def test_a_follower_goes_on_where_it_was_and_learns_what_it_has_lost(run: Run) -> None:
    async def play() -> None:
        worker = ServerWorker()
        feed = EventFeed(bridge_of(worker))
        keeping = feed.follow(EVERYTHING)
        await anext(keeping)
        await asyncio.sleep(0)
        for number in range(RING + 5):
            worker.events.observe(opened(number))
        late = feed.follow(EVERYTHING, after=2)
        await anext(late)
        text = await anext(late)
        assert text.startswith('event: Lost\ndata: {"count": 3}\n\nid: 6\n')
        for followed in (keeping, late):
            await followed.aclose()
        await asyncio.sleep(0)

    run(play())


def test_there_are_so_many_followers_and_silence_is_broken(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socks6.admin.events.PAUSE", 0.001)
    monkeypatch.setattr("socks6.admin.events.KEEP_ALIVE_SECONDS", 0.003)

    async def play() -> None:
        feed = EventFeed(bridge_of())
        followers = [feed.follow({ConnectionOpened}) for _ in range(FOLLOWERS)]
        for followed in followers:
            await anext(followed)
        with pytest.raises(TooManyFollowers):
            await anext(feed.follow({ConnectionOpened}))
        assert await anext(followers[0]) == ": nothing happened\n\n"
        for followed in followers:
            await followed.aclose()
        await anext(again := feed.follow({ConnectionOpened}))
        await again.aclose()
        await asyncio.sleep(0)

    run(play())


def test_the_fields_of_an_event_are_what_json_has() -> None:
    fields = fields_of(UnexpectedError(where="here", error=ValueError("ours")))
    assert json.loads(json.dumps(fields)) == {"where": "here", "error": "ValueError: ours"}
