"""A SOCKS 6 proxy whose every answer a test gives by hand, call by call."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from socks6.client.client import Client
from socks6.message.codes import ReplyCode
from socks6.message.dialect import DRAFT_12, Dialect
from socks6.message.options import Option
from socks6.message.replies import OperationReply
from socks6.message.requests import Request
from socks6.net.machine_io import flush, next_event
from socks6.net.stream import ByteStream
from socks6.protocol.events import Authenticated, RequestReceived
from socks6.protocol.server import ServerConversation
from tests.kit.memory import memory_stream_pair


class Call:
    """One connection to the proxy: its request, and what the test answers."""

    def __init__(self, stream: ByteStream, dialect: Dialect) -> None:
        self.stream = stream
        self.request: Request
        self._conversation = ServerConversation(
            methods={}, authentication_required=False, deadline=1e9, dialects=(dialect,)
        )

    async def admit(self, *options: Option) -> None:
        """Read the request and let the client in."""
        event = await next_event(self._conversation, self.stream)
        assert isinstance(event, RequestReceived), event
        self.request = event.request
        self._conversation.authenticate()
        assert isinstance(await next_event(self._conversation, self.stream), Authenticated)
        self._conversation.send_authenticated(options)
        await flush(self._conversation, self.stream)

    async def refuse(self, *options: Option) -> None:
        """Read the request and send the client away."""
        event = await next_event(self._conversation, self.stream)
        assert isinstance(event, RequestReceived), event
        self.request = event.request
        self._conversation.refuse(options, reason="the test says so")
        await flush(self._conversation, self.stream)

    async def reply(
        self,
        host: str = "0.0.0.0",
        port: int = 0,
        *options: Option,
        code: int = ReplyCode.SUCCEEDED,
        announces: bool = False,
    ) -> None:
        """Send an Operation Reply, or one that announces a peer."""
        reply = OperationReply(code=code, host=host, port=port, options=options)
        if announces:
            self._conversation.send_announcement(reply)
        else:
            self._conversation.send_reply(reply)
        await flush(self._conversation, self.stream)


class Calls:
    """The proxy. `next` gives calls in the order in which they came."""

    def __init__(self, dialect: Dialect = DRAFT_12) -> None:
        self.client: Client
        self.made: list[Call] = []
        self.refusing = False  # no new connection gets through
        self._dialect = dialect
        self._waiting: asyncio.Queue[Call] = asyncio.Queue()

    async def dial(self) -> ByteStream:
        """Connect to it."""
        if self.refusing:
            raise ConnectionRefusedError("refused")
        ours, theirs = memory_stream_pair()
        call = Call(theirs, self._dialect)
        self.made.append(call)
        self._waiting.put_nowait(call)
        return ours

    async def next(self, *options: Option) -> Call:
        """Return the next call, whose client is let in with these options."""
        call = await self._waiting.get()
        await call.admit(*options)
        return call

    async def refuse(self, *options: Option) -> Call:
        """Return the next call, whose client is sent away with these options."""
        call = await self._waiting.get()
        await call.refuse(*options)
        return call

    @property
    def nobody_calls(self) -> bool:
        """Whether every call was taken."""
        return self._waiting.empty()


@asynccontextmanager
async def calls(dialect: Dialect = DRAFT_12, timeout: float = 5.0) -> AsyncIterator[Calls]:
    """Give a proxy, with its `client`; all its connections must be over in the end."""
    proxy = Calls(dialect)
    async with Client("socks6://memory", dial=proxy.dial, dialect=dialect, timeout=timeout) as client:
        proxy.client = client
        yield proxy
        proxy.refusing = True  # nobody is left to answer the end of a session
    for call in proxy.made:
        await _drained(call.stream)


async def _drained(stream: ByteStream) -> None:
    """Receive to the end: the client must have let go of the stream."""
    try:
        while await stream.receive():
            pass
    except OSError:
        pass
    stream.abort()
