"""Knows whether a client's proxy works: by each request that is made of it, and by NOOPs where these tell too little."""

import asyncio
import contextlib
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

from socks6.client.client import Client
from socks6.errors import (
    AuthenticationFailed,
    OperationFailed,
    ProxyTimedOut,
    ProxyUnreachable,
    RemoteProtocolError,
    Socks6Error,
)
from socks6.net.upstream import UpstreamState, UpstreamStatus
from socks6.telemetry import Observer, UpstreamDown, UpstreamUp

CHECK_SECONDS: Final = 10.0  # for a check to be answered
FIRST_PAUSE_SECONDS: Final = 1.0  # until a proxy that is down is checked again; twice as long each time
MAX_PAUSE_SECONDS: Final = 60.0
REPORT_SECONDS: Final = 10.0  # between two events, however often the state changes

UPSTREAM_ERRORS: Final = (ProxyUnreachable, AuthenticationFailed, RemoteProtocolError)
"""Failures of the proxy itself, whatever host it was asked for."""


class UpstreamMonitor:
    """Keeps the `UpstreamStatus` of a client's proxy up to date, and reports to an observer when its state changes.

    `watching` and `note` record how the requests of others go. `check` and `run` make requests of their own.
    """

    def __init__(
        self,
        client: Client,
        *,
        first_pause: float = FIRST_PAUSE_SECONDS,
        report_every: float = REPORT_SECONDS,
        check_seconds: float = CHECK_SECONDS,
        check_every: float | None = None,
        draw: Callable[[], float] = random.random,
    ) -> None:
        """`run` checks a proxy that works every `check_every` seconds; None: not; `draw` returns 0 to 1."""
        self._first_pause = first_pause
        self._report_every = report_every
        self._check_seconds = check_seconds
        self._check_every = check_every
        self._draw = draw
        self._check_began: Callable[[], object] = lambda: None
        self._check_ended: Callable[[], object] = lambda: None
        self.status = UpstreamStatus(url=client.url.brief)
        self.client: Final = client
        self._observer: Observer | None = None
        self._cause: type[Exception] | None = None  # of being down
        self._reported: tuple[UpstreamState, type[Exception] | None] = UpstreamState.UNTRIED, None
        self._reported_down = (
            0.0  # the time of day when an UpstreamDown was reported that no UpstreamUp followed
        )
        self._quiet_until = 0.0  # on the loop's clock
        self._later: asyncio.TimerHandle | None = None
        self._changed = asyncio.Event()
        self._due: float | None = None  # when `run` checks next, on the loop's clock; None: when asked
        self._checked = float("-inf")  # when the last check ended
        self._pause = first_pause

    def report_to(self, observer: Observer) -> None:
        """Report UpstreamDown and UpstreamUp to this observer, at most one of them in `report_every` seconds."""
        self._observer = observer

    def on_check(self, began: Callable[[], object], ended: Callable[[], object]) -> None:
        """Call these when a check begins, and when it has ended; `status` says then what came of it."""
        self._check_began, self._check_ended = began, ended

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Record how the request that is made within the block goes."""
        try:
            yield
        except Exception as error:
            self.note(error)
            raise
        self.note(None)

    def note(self, error: BaseException | None) -> None:
        """Record what a request raised; None if it was granted."""
        match error:
            case None:
                self._is_up()
            case ProxyTimedOut(unsent=True):
                self._is_down(error)
            case ProxyTimedOut():  # which may be the destination's fault
                self.refresh(CHECK_SECONDS)
            case OperationFailed():  # the proxy's own answer
                self._is_up()
            case _ if isinstance(error, UPSTREAM_ERRORS):
                self._is_down(error)
            case _:
                return

    async def check(self) -> None:
        """Make a NOOP request, and record what comes of it. Raises nothing that the proxy can cause."""
        loop = asyncio.get_running_loop()
        self._due = None
        self._check_began()
        try:
            answer = await self.client.check(timeout=self._check_seconds)
        except OperationFailed:
            self._is_up()
        except (Socks6Error, OSError) as error:
            self._is_down(error)
        else:
            self.status = replace(self.status, seconds=answer.seconds, encryption=answer.encryption)
            self._is_up()
        self._checked = loop.time()
        if self.status.state is UpstreamState.UP:
            self._due = self._next_check()
        self._check_ended()

    async def run(self) -> None:
        """Check when `refresh` asks for it and, after ever longer pauses, while the proxy is down; until cancelled.

        A proxy that refuses the credentials is not asked again and again: it would count that as guessing.
        """
        while True:
            self._changed.clear()
            try:
                async with asyncio.timeout_at(self._due):
                    await self._changed.wait()
            except TimeoutError:
                await self.check()

    def refresh(self, max_age: float) -> None:
        """Ask `run` for a check now, unless the last check is less than `max_age` seconds old or the credentials were refused."""
        now = asyncio.get_running_loop().time()
        if now - self._checked >= max_age and self._cause is not AuthenticationFailed:
            self._due = now
            self._changed.set()

    def _is_up(self) -> None:
        if self.status.state is UpstreamState.UP:
            return
        self._pause, self._cause = self._first_pause, None
        self._due = self._next_check()
        self.status = replace(self.status, state=UpstreamState.UP, since=time.time(), reason="")
        self._changed.set()
        self._report()

    def _is_down(self, error: Exception) -> None:
        now = time.time()
        before, reason = self.status, str(error)
        self._cause = type(error)
        self.status = replace(
            before,
            state=UpstreamState.DOWN,
            since=before.since if before.state is UpstreamState.DOWN else now,
            reason=reason,
            last_error=reason,
            last_error_at=now,
        )
        if self._due is None and not isinstance(error, AuthenticationFailed):
            self._due = asyncio.get_running_loop().time() + self._jittered(self._pause)
            self._pause = min(2 * self._pause, MAX_PAUSE_SECONDS)
            self._changed.set()
        self._report()

    def _next_check(self) -> float | None:
        """Return when a proxy that works is checked again."""
        if self._check_every is None:
            return None
        return asyncio.get_running_loop().time() + self._jittered(self._check_every)

    def _jittered(self, seconds: float) -> float:
        """Return three quarters of this time, up to all of it: clients that lost one proxy together do not return together."""
        return seconds * (1.0 - self._draw() / 4)

    def _report(self) -> None:
        """Report what is not reported yet: now, or once `report_every` seconds have passed since the last event."""
        if self._observer is None or self._later is not None:
            return
        loop = asyncio.get_running_loop()
        if loop.time() < self._quiet_until:
            self._later = loop.call_at(self._quiet_until, self._report_later)
            return
        status = self.status
        if self._reported == (status.state, self._cause):
            return
        self._reported = status.state, self._cause
        if status.state is UpstreamState.DOWN:
            self._quiet_until = loop.time() + self._report_every
            self._reported_down = self._reported_down or status.since
            self._observer.observe(UpstreamDown(url=status.url, reason=status.reason))
            return
        down_for = 0.0
        if self._reported_down:
            self._quiet_until = loop.time() + self._report_every
            down_for = max(0.001, round(status.since - self._reported_down, 3))
            self._reported_down = 0.0
        self._observer.observe(UpstreamUp(url=status.url, encryption=status.encryption, down_for=down_for))

    def _report_later(self) -> None:
        self._later = None
        self._report()
