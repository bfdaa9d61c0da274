"""What holds for all authenticators outside of this process."""

import asyncio
from typing import Final

import pytest

from socks6.compat import override
from socks6.errors import AuthenticationBusy
from socks6.policy.identity import Identity
from socks6.policy.user_limits import UserLimits
from socks6.protocol.methods.base import Credentials
from socks6.protocol.methods.userpass import UsernamePasswordCredentials
from socks6.proxy.authentication.base import UserUnknown
from socks6.proxy.authentication.external import (
    CACHED_ANSWERS,
    MAX_REASON,
    Answer,
    AnswerCache,
    ExternalAuthenticator,
    ExternalFailure,
    ExternalSettings,
    FailureCause,
    Health,
    Question,
    Refusal,
    read_answer,
    read_json,
)
from socks6.telemetry import AuthenticatorDown, AuthenticatorUp, EventHub
from tests.kit.clock import ManualClock
from tests.kit.loops import Run
from tests.kit.outbounds import Recorder

ALICE: Final = Identity(name="alice")
RIGHT: Final = UsernamePasswordCredentials(username=b"alice", password=b"secret")


class Outside(ExternalAuthenticator):
    """Answers what the test says."""

    name = "outside"

    def __init__(self, *answers: Answer | ExternalFailure, key: object = 1, **settings: float) -> None:
        self.clock = ManualClock()
        super().__init__(key, ExternalSettings(**settings), clock=self.clock)
        self.answers_to_give = list(answers)
        self.asked: list[Question] = []

    @override
    async def ask(self, question: Question, deadline: float) -> Answer:
        self.asked.append(question)
        if not self.answers_to_give:
            await asyncio.sleep(60)
        answer = self.answers_to_give.pop(0)
        if isinstance(answer, ExternalFailure):
            raise answer
        return answer


def test_answers_hold_for_a_while_for_the_same_place(run: Run) -> None:
    async def knock() -> None:
        outside = Outside(ALICE, ALICE, ALICE)
        assert await outside.verify(RIGHT, "192.0.2.1") == ALICE
        assert outside.cached_identity(RIGHT, "192.0.2.1") == ALICE
        assert await outside.verify(RIGHT, "192.0.2.1") == ALICE
        assert outside.asked == [{"name": "alice", "password": "secret", "source": "192.0.2.1"}]
        assert outside.cached_identity(RIGHT, "192.0.2.2") is None
        outside.clock.now += 60
        assert outside.cached_identity(RIGHT, "192.0.2.1") is None
        await outside.verify(RIGHT, "192.0.2.1")
        assert len(outside.asked) == 2

    run(knock())


def test_refusals_hold_for_a_shorter_one_and_take_as_long(run: Run) -> None:
    async def knock() -> None:
        outside = Outside(Refusal.WRONG, ALICE)
        assert await outside.verify(RIGHT) is None
        outside.durations.add(0.05)
        began = asyncio.get_running_loop().time()
        outside.durations.next()  # the real one's turn
        assert await outside.verify(RIGHT) is None
        assert asyncio.get_running_loop().time() - began > 0.03 or len(outside.asked) == 1
        outside.clock.now += 5
        assert await outside.verify(RIGHT) == ALICE

    run(knock())


def test_without_a_cache_each_is_asked_for(run: Run) -> None:
    async def knock() -> None:
        outside = Outside(ALICE, Refusal.WRONG, cache=0)
        assert await outside.verify(RIGHT) == ALICE
        assert await outside.verify(RIGHT) is None

    run(knock())


def test_an_unknown_user_is_for_the_next(run: Run) -> None:
    async def knock() -> None:
        outside = Outside(Refusal.UNKNOWN)
        for _ in range(2):
            with pytest.raises(UserUnknown):
                await outside.verify(RIGHT)
        assert len(outside.asked) == 1

    run(knock())


@pytest.mark.parametrize(
    "credentials",
    [Credentials(), UsernamePasswordCredentials(username=b"\xff", password=b"x")],
)
def test_what_no_user_has_is_not_asked_for(run: Run, credentials: Credentials) -> None:
    async def knock() -> None:
        outside = Outside(ALICE)
        assert await outside.verify(credentials) is None
        assert outside.cached_identity(credentials) is None
        assert not outside.asked

    run(knock())


def test_a_failure_lets_nobody_in_and_is_told_once(run: Run) -> None:
    async def knock() -> None:
        failure = ExternalFailure(FailureCause.ENDED, "exit code 1")
        outside = Outside(failure, failure, ExternalFailure(FailureCause.STATUS, "500"), ALICE, timeout=0.05)
        recorder = Recorder()
        outside.report_to(EventHub([recorder]))
        for _ in range(3):
            with pytest.raises(AuthenticationBusy) as busy:
                await outside.verify(RIGHT)
            assert busy.value.is_fault
            assert busy.value.__cause__ is None
        assert await outside.verify(RIGHT) == ALICE
        outside.clock.now += 60
        with pytest.raises(AuthenticationBusy):  # it does not answer in time
            await outside.verify(RIGHT)
        down = [event.reason for event in recorder.events if isinstance(event, AuthenticatorDown)]
        assert down == [
            "it ended: exit code 1",
            "an unexpected status: 500",
            "no answer: within 0.05 s",
        ]
        assert [type(event) for event in recorder.events][2] is AuthenticatorUp

    run(knock())


def test_how_long_it_was_down_is_told() -> None:
    clock, recorder = ManualClock(), Recorder()
    health = Health("command", clock=clock)
    health.events = EventHub([recorder])
    health.works()
    health.failed(ExternalFailure(FailureCause.ENDED))
    clock.now += 7
    health.works()
    assert recorder.events == [
        AuthenticatorDown(authenticator="command", reason="it ended"),
        AuthenticatorUp(authenticator="command", down_for=7.0),
    ]


def test_limits_of_place_and_time_hold_for_what_is_remembered(run: Run) -> None:
    async def knock() -> None:
        there = Identity(name="alice", limits=UserLimits.parse({"sources": ["192.0.2.0/24"]}))
        gone = Identity(name="alice", limits=UserLimits.parse({"expires": "2001-01-01"}))
        outside = Outside(there, there, gone)
        assert await outside.verify(RIGHT, "192.0.2.1") is not None
        assert await outside.verify(RIGHT, "198.51.100.1") is None
        assert await outside.verify(RIGHT, "") is None
        assert outside.cached_identity(RIGHT, "") is None

    run(knock())


def test_what_replaces_it_takes_over_what_is_of_the_same(run: Run) -> None:
    async def knock() -> None:
        old = Outside(ALICE, key="a")
        await old.verify(RIGHT)
        same, other = Outside(key="a"), Outside(key="b")
        same.inherit(old)
        other.inherit(old)
        assert same.cached_identity(RIGHT) == ALICE
        assert other.cached_identity(RIGHT) is None
        assert same.health is old.health
        assert same.credential_version(ALICE) == old.credential_version(ALICE)
        assert other.credential_version(ALICE) != old.credential_version(ALICE)

    run(knock())


def test_the_cache_is_bounded() -> None:
    cache = AnswerCache()
    for number in range(CACHED_ANSWERS + 1):
        cache.add(bytes([number % 256, number // 256]), ALICE, 60)
    assert len(cache) == CACHED_ANSWERS
    assert cache.get(b"\0\0") is None
    assert cache.get(b"\1\0") == ALICE


def test_answers_are_read() -> None:
    assert read_answer({"ok": True}, "alice") == ALICE
    assert read_answer({"ok": False, "user": "x"}, "alice") is Refusal.WRONG
    assert read_answer({"ok": False, "unknown": True}, "alice") is Refusal.UNKNOWN
    known = read_answer({"ok": True, "user": "al", "limits": {"up": "1M", "expires": None}}, "alice")
    assert isinstance(known, Identity)
    assert (known.name, known.limits.up) == ("al", 1_000_000)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({}, "neither true nor false"),
        ({"ok": 1}, "neither true nor false"),
        ({"ok": "true"}, "neither true nor false"),
        ({"ok": None, "error": "LDAP is down"}, "it cannot tell: LDAP is down"),
        ({"ok": True, "user": 7}, "user is no text"),
        ({"ok": True, "user": "a\nb"}, "cannot be printed"),
        ({"ok": True, "user": "\udc00"}, "no valid answer"),
        ({"ok": True, "limits": [1]}, "limits is no object"),
        ({"ok": True, "limits": {"speed": 1}}, "'speed' is no limit"),
        ({"ok": True, "limits": {"up": -1}}, "up: "),
        ({"ok": True, "limits": {"expires": 5}}, "expires: "),
    ],
)
def test_answers_that_are_none(values: dict[str, object], reason: str) -> None:
    with pytest.raises(ExternalFailure) as failure:
        read_answer(values, "alice")
    assert reason in str(failure.value)
    assert len(str(failure.value)) <= MAX_REASON


@pytest.mark.parametrize("data", [b"", b"hello secret", b"[1]", b"\xff", b"[" * 60_000, b"1" * 5000])
def test_what_is_no_object_of_json_is_not_quoted(data: bytes) -> None:
    with pytest.raises(ExternalFailure) as failure:
        read_json(data)
    assert str(failure.value) in {"no valid answer: not JSON", "no valid answer: no object of JSON"}


def test_secrets_are_not_in_what_is_kept(run: Run) -> None:
    async def knock() -> None:
        outside = Outside(ALICE)
        await outside.verify(RIGHT)
        assert "secret" not in repr(vars(outside.answers))

    run(knock())
