"""Reaches a proxy over QUIC or TLS, whichever connects first, in the manner of Happy Eyeballs (RFC 8305).

QUIC has a head start. A network where TLS gets through and QUIC does not is remembered: there requests go over TLS at
once, and from time to time QUIC is tried beside them. So only the first request on a network waits, for HEAD_START_SECONDS.
Where a QUIC connection falls silent, what may be made twice goes over TLS, and so do all requests until QUIC answers again.

On a network where QUIC loses packets TLS has the head start, for CONNECT: the losses of one stream slow down all others of
its QUIC connection, and the system's TCP has the better congestion control (docs/decisions/0080).
"""

import asyncio
import logging
from collections.abc import Awaitable, Coroutine
from typing import Any, Final, TypeAlias

from socks6.compat import override
from socks6.errors import TlsFailed
from socks6.message.codes import Command
from socks6.net.local_addresses import source_address
from socks6.net.stream import ByteStream, Substream
from socks6.net.transports.base import (
    AnswerT,
    Connector,
    ConnectParameters,
    NotAnswered,
    StreamRequest,
    send_first,
)

HEAD_START_SECONDS: Final = 0.25  # RFC 8305 §5
ATTEMPT_SECONDS: Final = 3.0  # for QUIC to connect, while TLS is tried beside it
BLOCKED_SECONDS: Final = 300.0  # between two attempts by QUIC on a network that blocks it
MAX_NETWORKS: Final = 16  # that are remembered
LOSSY_SECONDS: Final = 600.0  # on a network where packets got lost: CONNECTs go over TLS
PATIENCE_SECONDS: Final = 2.0  # for TLS there, before QUIC is tried as well: a lost SYN costs 1 s

_log = logging.getLogger("socks6")

Attempt: TypeAlias = asyncio.Task[ByteStream]


class RacingConnector(Connector):
    """Opens each stream over QUIC if that connects in time, else over TLS."""

    def __init__(self, quic: Connector, tls: Connector, proxy: ConnectParameters) -> None:
        self._quic = quic
        self._tls = tls
        self._proxy = proxy
        self._retry_at: dict[str, float] = {}  # by network that blocks QUIC
        self._lossy_until: dict[str, float] = {}  # by network that loses packets
        self._learning: set[asyncio.Task[None]] = set()  # until each has ended, or `abandon`

    @override
    async def open(self, request: StreamRequest) -> ByteStream:
        """Return a stream. Raises TlsFailed, OSError.

        A proxy that QUIC reaches, but whose certificate is refused, is not tried over TLS.
        """
        if self._retry_at and (network := await self._network()) in self._retry_at:
            if _now() >= self._retry_at[network]:
                probe = self._try_quic(StreamRequest(Command.NOOP, repeatable=True))
                self._learn(network, probe, was_blocked=True)
            return await self._tls.open(request)
        if request.command == Command.CONNECT and await self._is_lossy():
            return await self._open_tls_first(request)
        attempts = [quic := self._try_quic(request)]
        try:
            await asyncio.wait(attempts, timeout=HEAD_START_SECONDS)
            if not _decides(quic):
                # early data may be carried out as soon as it arrives: it does not go by both while QUIC may get through
                attempts.append(tls := _attempt(self._tls.open(request._replace(early_data=None))))
                if await _first(quic, tls) is tls:
                    tls.result()  # raises what went wrong
                    network = await self._network()
                    if quic.done() or not request.early_data:
                        attempts.remove(quic)
                        self._learn(network, quic, was_blocked=False)
                    attempts.remove(tls)
                    stream = tls.result()
                    await send_first(stream, request.early_data)
                    return stream
            stream = quic.result()
            attempts.remove(quic)
            return stream
        finally:
            for attempt in attempts:
                attempt.cancel()
                attempt.add_done_callback(_discard)

    async def _open_tls_first(self, request: StreamRequest) -> ByteStream:
        """Return a stream over TLS if that connects in time, else whichever is first."""
        bare = request._replace(early_data=None)  # it may be carried out as soon as it arrives
        attempts = [_attempt(self._tls.open(bare))]
        try:
            await asyncio.wait(attempts, timeout=PATIENCE_SECONDS)
            if not _decides(attempts[0]):
                self._lossy_until.pop(await self._network(), None)  # the next request does not wait for TLS
                attempts.append(self._try_quic(bare))
            first = await _first(*attempts)
            stream = first.result()  # raises what went wrong
            attempts.remove(first)
            await send_first(stream, request.early_data)
            return stream
        finally:
            for attempt in attempts:
                attempt.cancel()
                attempt.add_done_callback(_discard)

    async def _is_lossy(self) -> bool:
        """Return whether QUIC loses packets on the present network, or did a while ago."""
        loses = self._quic.loses_packets()
        if not (loses or self._lossy_until):
            return False
        network = await self._network()
        if loses:
            if self._lossy_until.pop(network, 0.0) < _now():
                proxy = f"{self._proxy.host}:{self._proxy.port}"
                _log.info("packets get lost, TLS for new connections for %d s proxy=%s", LOSSY_SECONDS, proxy)
            while len(self._lossy_until) >= MAX_NETWORKS:
                del self._lossy_until[next(iter(self._lossy_until))]
            self._lossy_until[network] = _now() + LOSSY_SECONDS
        return self._lossy_until.get(network, 0.0) >= _now()

    @override
    async def first_answer(self, stream: ByteStream, answer: Awaitable[AnswerT]) -> AnswerT:
        if stream.attribute(Substream) is None:
            return await self._tls.first_answer(stream, answer)
        try:
            return await self._quic.first_answer(stream, answer)
        except NotAnswered:
            # not repeatable: a PING goes before it on a connection that is there
            probe = self._try_quic(StreamRequest(Command.NOOP))
            self._learn(await self._network(), probe, was_blocked=False)
            raise

    @override
    def keep_spares(self) -> None:
        self._tls.keep_spares()

    @override
    def answered(self, stream: ByteStream) -> None:
        self._quic.answered(stream)
        self._tls.answered(stream)

    @override
    def close(self) -> None:
        self._quic.close()
        self._tls.close()

    @override
    def abandon(self) -> None:
        self._stop_learning()
        self._quic.abandon()
        self._tls.abandon()

    @override
    async def aclose(self) -> None:
        if stopped := self._stop_learning():
            await asyncio.wait(stopped)
        await self._quic.aclose()
        await self._tls.aclose()

    async def _network(self) -> str:
        """Return what distinguishes the present network: this machine's address there, as the proxy sees it without NAT."""
        try:
            addresses = await self._proxy.resolver.resolve(self._proxy.host, self._proxy.port)
            return source_address(addresses[0].socket_address[0])
        except OSError:  # there is none
            return ""

    def _try_quic(self, request: StreamRequest) -> Attempt:
        return _attempt(_within_limit(self._quic.open(request)))

    def _learn(self, network: str, quic: Attempt, *, was_blocked: bool) -> None:
        """Leave QUIC alone on a network, unless an attempt by it succeeds, whose stream is not used."""
        is_news = self._retry_at.pop(network, None) is None  # to other requests made at the same time, too
        while len(self._retry_at) >= MAX_NETWORKS:
            del self._retry_at[next(iter(self._retry_at))]
        self._retry_at[network] = _now() + BLOCKED_SECONDS
        proxy = f"{self._proxy.host}:{self._proxy.port}"

        async def learn() -> None:
            try:
                (await quic).abort()
            except OSError as error:
                if is_news:
                    reason = error.strerror or str(error) or "no answer"
                    _log.warning(
                        "QUIC unreachable, falling back to TLS for %d s proxy=%s reason=%r",
                        BLOCKED_SECONDS,
                        proxy,
                        reason,
                    )
            else:
                self._retry_at.pop(network, None)
                if was_blocked:
                    _log.info("QUIC reachable again proxy=%s", proxy)

        learning = asyncio.create_task(learn(), name="socks6 QUIC probe")
        self._learning.add(learning)
        learning.add_done_callback(self._learning.discard)

    def _stop_learning(self) -> set[asyncio.Task[None]]:
        """Cancel the attempts of this loop that run in the background; return them."""
        stopped = {task for task in self._learning if task.get_loop() is asyncio.get_running_loop()}
        for task in stopped:
            task.cancel()
        return stopped


async def _within_limit(opening: Coroutine[Any, Any, ByteStream]) -> ByteStream:
    async with asyncio.timeout(ATTEMPT_SECONDS):
        return await opening


def _attempt(opening: Coroutine[Any, Any, ByteStream]) -> Attempt:
    return asyncio.create_task(opening, name="socks6 attempt")


async def _first(*attempts: Attempt) -> Attempt:
    """Return the first attempt that decides the race; if none does, the last of them."""
    pending = set(attempts)
    while pending:
        _, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        for attempt in attempts:
            if _decides(attempt):
                return attempt
    return attempts[-1]


def _decides(attempt: Attempt) -> bool:
    """Return whether an attempt has a stream, or has met a proxy that is not the right one."""
    return attempt.done() and isinstance(attempt.exception(), TlsFailed | None)


def _discard(attempt: Attempt) -> None:
    """Abort the stream of an attempt that nobody waits for."""
    if not attempt.cancelled() and attempt.exception() is None:
        attempt.result().abort()


def _now() -> float:
    return asyncio.get_running_loop().time()
