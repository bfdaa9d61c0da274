"""What the streams of one QUIC connection have in common: the authenticated identity, its session, its BINDs."""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterator
from typing import Final, TypeAlias

from socks6.errors import GeneralFailure
from socks6.net.scopes import on_failure
from socks6.net.stream import AcceptedPeer, ByteStream, MultiplexedConnection
from socks6.policy.identity import Identity
from socks6.proxy.sessions import Session
from socks6.relay.datagrams.client_ports import QuicClientPort
from socks6.telemetry import Ending

REFUSED: Final = 1  # the code of connections whose first request was not admitted
FAILURES: Final = frozenset((Ending.UNAUTHENTICATED, Ending.MALFORMED, Ending.NO_REQUEST))

ServePushed: TypeAlias = Callable[
    ["QuicConnectionContext", ByteStream, AcceptedPeer], Coroutine[None, None, None]
]


class QuicConnectionContext:
    """One connection. Its first request is authenticated, and the result holds for all streams.

    Streams that arrive meanwhile wait. All of them are one session: the one that the first request opened or
    named, else one without an id, which lasts as long as the connection. A client that was not admitted by the
    connection's one deadline is sent away, whatever its streams are about.
    """

    def __init__(self, connection: MultiplexedConnection, serve_pushed: ServePushed) -> None:
        """`serve_pushed` relays a stream that was opened for a peer."""
        self.connection: Final = connection
        self.port: Final = QuicClientPort(connection)
        self._group: asyncio.TaskGroup | None = None
        self._limit: asyncio.TimerHandle | None = None
        self._serve_pushed = serve_pushed
        self._gate = asyncio.Lock()
        self._session: Session | None = None
        self._own_session: Session | None = None  # without an id
        self._binds: set[int | None] = set()
        self.streams = (
            0  # that are served: as long as there are any, a connection that was admitted once stays
        )
        self._revoked = False
        self._seconds = 0.0

    def begin(self, group: asyncio.TaskGroup, seconds: float) -> None:
        """Start tasks in `group`; a client that is not admitted within `seconds` is disconnected."""
        self._group = group
        self._seconds = seconds
        self._start_clock()

    @property
    def session(self) -> Session | None:
        """The session of every stream; None before the client was admitted."""
        if self._session is not None and self._session.ended:  # torn down: the connection is not
            self._session = self._own_session = Session(self._session.identity, self.connection.protection)
        return self._session

    @property
    def is_open(self) -> bool:
        """Whether requests are heard at once, since the client was admitted, and what it sends is no replay."""
        return self._session is not None and self.connection.is_confirmed

    async def enter(self) -> bool:
        """Wait until a stream's request may be heard; return True for the one that is to be authenticated."""
        if self._session is not None:
            return False
        await self._gate.acquire()
        first = self.session is None
        if not first:  # the client was admitted meanwhile
            self._gate.release()
        return first

    def admitted(self, identity: Identity, session: Session | None) -> Session | None:
        """Keep the identity that was admitted first; return the session of the request."""
        current = self.session
        if current is None:
            if session is None:
                session = self._own_session = Session(identity, self.connection.protection)
            self._session = session
            self.connection.trust()
            self._stop_clock()
            self._open_gate()
            return session
        # another, where two were authenticated at a time after a reload
        return current if current.identity == identity else session

    def revoke(self, is_valid: Callable[[Identity], bool]) -> None:
        """Authenticate the next request again if the client would not be admitted now; running requests go on.

        What is tied to the connection's own session ends, as it does for any session.
        """
        if self._session is None or is_valid(self._session.identity):
            return
        own, self._own_session, self._session = self._own_session, None, None
        if own is not None:
            own.end(close=False)
        self._revoked = True
        self._start_clock()

    @contextlib.contextmanager
    def serving(self) -> Iterator[None]:
        """Count a stream that is served."""
        self.streams += 1
        try:
            yield
        finally:
            self.streams -= 1

    def first_left(self, ending: Ending) -> None:
        """Let the next stream be authenticated, if the first one ended without that."""
        if self._session is not None:
            return
        if ending in FAILURES and not self._revoked:  # else streams of before may be running
            self.connection.close(REFUSED, "not authenticated")
        self._open_gate()

    def claim_bind(self, stream_id: int | None) -> None:
        """Reserve the StreamID that marks the peers of a BIND. Raises GeneralFailure if it is taken."""
        if stream_id in self._binds:
            if stream_id is None:
                raise GeneralFailure("there is a BIND with a backlog already, and neither has a StreamID")
            raise GeneralFailure(f"the StreamID {stream_id} is another BIND's")
        self._binds.add(stream_id)

    def leave_bind(self, stream_id: int | None) -> None:
        """Free an id. Idempotent."""
        self._binds.discard(stream_id)

    async def push(self, accepted: AcceptedPeer, reply: bytes) -> None:
        """Give a peer a stream of its own, which begins with `reply`. Raises OSError when the connection is over.

        Where the client wants none of that very stream, the peer is reset, and others may come.
        """
        with on_failure(accepted.stream.abort):
            stream = await self.connection.open()
        try:
            with on_failure(accepted.stream.abort), on_failure(stream.abort):
                await stream.send(reply)
        except OSError:
            return
        assert self._group is not None  # noqa: S101 - the client was admitted, so it has begun
        self._group.create_task(self._serve_pushed(self, stream, accepted), name="socks6 pushed stream")

    def leave(self) -> None:
        """End what is tied to the connection, once none of its streams is left. Idempotent."""
        self._stop_clock()
        self.port.close()
        if self._own_session is not None:
            self._own_session.end(close=False)
        self.connection.close()

    def _expire(self) -> None:
        """Disconnect a client that was not admitted; `admitted` stops the clock."""
        if self._revoked and self.streams:
            self._start_clock()
            return
        self.connection.close(
            REFUSED, "no request" if not self._gate.locked() else "not authenticated in time"
        )

    def _open_gate(self) -> None:
        """Let the next request pass; after a reload the gate may have been passed before."""
        if self._gate.locked():
            self._gate.release()

    def _start_clock(self) -> None:
        self._limit = asyncio.get_running_loop().call_later(self._seconds, self._expire)

    def _stop_clock(self) -> None:
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None
