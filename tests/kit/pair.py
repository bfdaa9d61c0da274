"""A client's and a server's conversation, joined by a wire that cuts bytes as it likes."""

from collections.abc import Callable, Iterator

from socks6.message.codes import Command, ReplyCode
from socks6.message.replies import OperationReply
from socks6.protocol.client import ClientConversation
from socks6.protocol.events import (
    Authenticated,
    AuthenticationRefused,
    ClientEvent,
    CredentialsOffered,
    Ended,
    RequestReceived,
    ServerEvent,
    Violation,
)
from socks6.protocol.methods.base import Credentials
from socks6.protocol.server import ServerConversation

MAX_ROUNDS = 10_000
BOUND = OperationReply(code=ReplyCode.SUCCEEDED, host="192.0.2.1", port=4711)
PEER = OperationReply(code=ReplyCode.SUCCEEDED, host="2001:db8::7", port=9)


class Pair:
    """Plays both sides until neither has anything to say; keeps what each was told."""

    def __init__(
        self,
        client: ClientConversation,
        server: ServerConversation,
        chunks: Iterator[int],
        *,
        accept: Callable[[Credentials], bool] = lambda _: True,
        operation: OperationReply = BOUND,
    ) -> None:
        self.client = client
        self.server = server
        self._chunks = chunks
        self._accept = accept
        self._operation = operation
        self.client_events: list[ClientEvent] = []
        self.server_events: list[ServerEvent] = []
        self._now = 0.0

    def play(self) -> "Pair":
        """Carry bytes to and fro until all is quiet."""
        up, down = bytearray(), bytearray()
        for _ in range(MAX_ROUNDS):
            up += self.client.data_to_send()
            down += self.server.data_to_send()
            if not up and not down and not self._answer_events():
                return self
            self._deliver(up, self.server.receive_data)
            self._answer_events()
            self._deliver(down, self.client.receive_data)
            self._answer_events()
        raise AssertionError("the conversation does not end")

    def _deliver(self, wire: bytearray, receive: Callable[[bytes, float], None]) -> None:
        size = next(self._chunks, 0) or len(wire)
        data = bytes(wire[:size])
        del wire[:size]
        if data:
            self._now += 0.001
            receive(data, self._now)

    def _answer_events(self) -> bool:
        happened = False
        while (client_event := self.client.next_event()) is not None:
            self.client_events.append(client_event)
            happened = True
        while (server_event := self.server.next_event()) is not None:
            self.server_events.append(server_event)
            self._answer(server_event)
            happened = True
        return happened

    def _answer(self, event: ServerEvent) -> None:
        match event:
            case RequestReceived():
                self.command = event.request.command
                self.server.authenticate()
            case CredentialsOffered():
                self.server.verified(accepted=self._accept(event.credentials))
            case Authenticated():
                self.server.send_authenticated()
                self.server.send_reply(self._operation)
                if self.command == Command.BIND and self._operation.code == ReplyCode.SUCCEEDED:
                    self.server.send_reply(PEER)
            case AuthenticationRefused() | Violation() | Ended():
                pass
            case _:
                raise AssertionError(f"unexpected {event}")
