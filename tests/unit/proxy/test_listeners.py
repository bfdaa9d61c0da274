"""How many places are bound, and where."""

import pytest

from socks6.errors import GeneralFailure
from socks6.net.stream import Endpoint
from socks6.proxy.backlog import BacklogListener
from socks6.proxy.listeners import MOST_DRAWN, Listeners
from socks6.proxy.settings import BindSettings
from tests.kit.bindings import ScriptedBinding
from tests.kit.loops import Run

ALICE, BOB, SOMEBODY = ("alice", ""), ("bob", ""), ("", "192.0.2.1")


def test_there_are_so_many_in_all_and_of_one_user() -> None:
    listeners = Listeners(BindSettings(listeners=3, listeners_per_user=2))
    listeners.enter(ALICE)
    listeners.enter(ALICE)
    with pytest.raises(GeneralFailure, match="2 listeners of one user already"):
        listeners.enter(ALICE)
    listeners.enter(SOMEBODY)
    with pytest.raises(GeneralFailure, match="3 listeners already"):
        listeners.enter(BOB)
    listeners.leave(ALICE)
    listeners.enter(BOB)
    assert listeners.count == 3


def test_nothing_is_kept_of_who_has_none() -> None:
    listeners = Listeners(BindSettings())
    listeners.enter(ALICE)
    listeners.leave(ALICE)
    assert listeners.count == 0
    assert not listeners._by_user


def test_zero_sets_no_limit() -> None:
    listeners = Listeners(BindSettings(listeners=0, listeners_per_user=0))
    for _ in range(2_000):
        listeners.enter(ALICE)


def test_a_listener_is_found_by_its_place_until_it_goes(run: Run) -> None:
    async def scene() -> None:
        listeners = Listeners(BindSettings())
        one, other = (
            BacklogListener(
                ScriptedBinding(bound=Endpoint(host, 80), backlog=1),
                owner=None,
                bound=Endpoint(host, 80),
                options=(),
                backlog=2,
                announces=False,
                asked_for=host,
                on_close=lambda: None,
            )
            for host in ("192.0.2.1", "2001:db8::1")
        )
        listeners.add(one)
        listeners.add(other)
        assert listeners.find(Endpoint("192.0.2.1", 80)) is one
        assert listeners.find(Endpoint("2001:db8::1", 80)) is other
        assert listeners.find(Endpoint("192.0.2.2", 80)) is None
        assert listeners.find(Endpoint("192.0.2.1", 81)) is None
        for _ in range(2):
            listeners.remove(one)
        assert listeners.find(Endpoint("192.0.2.1", 80)) is None
        listeners.remove(other)
        assert not listeners._by_port

    run(scene())


def test_a_backlog_is_what_an_option_can_say() -> None:
    with pytest.raises(ValueError, match="backlog"):
        BindSettings(backlog=65_536)


def test_a_port_is_remembered_for_whom_it_was_drawn_and_for_a_while() -> None:
    listeners = Listeners(BindSettings())
    listeners.remember(ALICE, 5000, 0.0)
    assert listeners.remembers(ALICE, 5000, 599.0)
    assert not listeners.remembers(BOB, 5000, 0.0)
    assert not listeners.remembers(ALICE, 5001, 0.0)
    listeners.remember(ALICE, 5000, 500.0)
    assert listeners.remembers(ALICE, 5000, 1099.0)
    assert not listeners.remembers(ALICE, 5000, 1100.0)


def test_only_so_many_ports_are_remembered() -> None:
    listeners = Listeners(BindSettings())
    for number in range(MOST_DRAWN + 1):
        listeners.remember(SOMEBODY, number, 0.0)
    assert not listeners.remembers(SOMEBODY, 0, 1.0)
    assert listeners.remembers(SOMEBODY, 1, 1.0)
