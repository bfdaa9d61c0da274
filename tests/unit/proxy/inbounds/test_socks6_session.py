"""What the SOCKS 6 inbound makes of session options beyond what the draft says (tests/spec has that)."""

import pytest

from socks6.message.options import (
    AuthenticationMethodAdvertisement,
    IdempotenceExpenditure,
    IdempotenceRequest,
    IdempotenceWindow,
    Option,
    SessionId,
    SessionOk,
    SessionRequest,
    SessionTeardown,
    UnknownOption,
)
from socks6.proxy.settings import Settings
from socks6.telemetry import Ending
from tests.kit.loops import Run
from tests.kit.session_scene import Scene, credentials

QUIET = Settings(quiet=True, handshake_timeout=0.3)


def test_a_quiet_proxy_says_nothing_of_invalid_sessions(run: Run) -> None:
    async def scene() -> None:
        answer = await Scene(settings=QUIET).ask(SessionId(id=bytes(16)))
        assert answer.raw == b""

    run(scene())


def test_a_quiet_proxy_tells_a_client_that_it_knows_of_its_spent_token(run: Run) -> None:
    async def scene() -> None:
        proxy = Scene(settings=QUIET)
        answer = await proxy.ask(await proxy.open(), IdempotenceExpenditure(token=1))
        assert answer.raw == bytes.fromhex("06 01 0008  0008 0004  000f 0004")
        assert answer.summary.seconds < 0.3

    run(scene())


def test_a_quiet_proxy_answers_a_client_that_tears_its_session_down(run: Run) -> None:
    async def scene() -> None:
        proxy = Scene(settings=QUIET)
        answer = await proxy.ask(await proxy.open(), SessionTeardown())
        assert answer.raw == bytes.fromhex("06 01 0000")
        assert answer.summary.ending is Ending.DONE
        assert answer.summary.seconds < 0.3

    run(scene())


@pytest.mark.parametrize(
    ("options", "ending"),
    [
        ((SessionId(id=bytes(16)),), Ending.REFUSED),
        ((SessionRequest(),), Ending.UNAUTHENTICATED),
        ((SessionRequest(), credentials("alice", "wrong")), Ending.UNAUTHENTICATED),
    ],
    ids=["invalid id", "no credentials", "wrong credentials"],
)
def test_only_a_failed_login_looks_like_one_in_the_log(
    run: Run, options: tuple[Option, ...], ending: Ending
) -> None:
    async def scene() -> None:
        assert (await Scene().ask(*options)).summary.ending is ending

    run(scene())


def test_a_teardown_that_tries_to_log_in_can_fail_at_that(run: Run) -> None:
    async def scene() -> None:
        proxy = Scene()
        advertisement = AuthenticationMethodAdvertisement(methods=(9,), initial_data_length=0)
        answer = await proxy.ask(await proxy.open(), SessionTeardown(), advertisement)
        assert answer.summary.ending is Ending.UNAUTHENTICATED

    run(scene())


def test_an_option_that_only_looks_like_a_session_request_opens_none(run: Run) -> None:
    async def scene() -> None:
        proxy = Scene()
        answer = await proxy.ask(credentials(), UnknownOption(kind=SessionRequest.kind, body=b"abcd"))
        assert (answer.succeeded, len(proxy.store)) == (True, 0)

    run(scene())


def test_a_valid_session_is_served_also_from_a_source_that_guesses(run: Run) -> None:
    async def scene() -> None:
        proxy = Scene()
        session_id = await proxy.open()
        for name in ("alice", "bob"):
            for _ in range(10):
                await proxy.ask(credentials(name, "wrong"))
        blocked = await proxy.ask(credentials("bob", "654321"))
        assert (blocked.succeeded, blocked.summary.reason) == (False, "too many failed attempts")
        assert (await proxy.ask(session_id)).succeeded
        assert (await proxy.ask(credentials())).succeeded  # she has proved it from there before

    run(scene())


def test_the_order_of_the_answers_options_is_that_of_their_kinds(run: Run) -> None:
    async def scene() -> None:
        proxy = Scene()
        session_id = await proxy.open(IdempotenceRequest(size=8))
        answer = await proxy.ask(session_id, IdempotenceExpenditure(token=1))
        assert answer.authentication is not None
        kinds = [option.kind for option in answer.authentication.options]
        assert kinds == sorted(kinds)
        assert answer.authentication.options[:2] == (SessionOk(), IdempotenceWindow(base=2, size=8))

    run(scene())
