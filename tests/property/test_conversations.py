"""Client and server meet: whatever the wire does to their bytes, both are told the same."""

from collections.abc import Callable, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socks6.message.codes import Command
from socks6.message.dialect import DRAFT_12, GO_212, Dialect
from socks6.message.replies import OperationReply
from socks6.message.requests import Request
from socks6.protocol.client import ClientConversation
from socks6.protocol.events import (
    AuthenticationAccepted,
    AuthenticationRefused,
    OperationAnswered,
    PeerConnected,
    RequestReceived,
)
from socks6.protocol.methods.base import ClientMethod, ServerMethod
from socks6.protocol.methods.userpass import (
    UsernamePasswordClient,
    UsernamePasswordCredentials,
    UsernamePasswordServer,
)
from socks6.protocol.server import ServerConversation
from socks6.protocol.states import ClientState, ServerState
from tests.kit.challenge import NUMBER, ChallengeClient, ChallengeCredentials, ChallengeServer
from tests.kit.pair import BOUND, PEER, Pair

ALICE = UsernamePasswordCredentials(username=b"alice", password=b"123456")
SERVER_METHODS: Mapping[int, Callable[[], ServerMethod]] = {
    2: UsernamePasswordServer,
    NUMBER: ChallengeServer,
}
CLIENT_METHODS: dict[str, Callable[[], tuple[ClientMethod, ...]]] = {
    "none": lambda: (),
    "password": lambda: (UsernamePasswordClient(ALICE),),
    "challenge": lambda: (ChallengeClient(),),
    "both": lambda: (ChallengeClient(), UsernamePasswordClient(ALICE)),
}
CHUNKS = st.lists(st.integers(1, 40), max_size=60)
DIALECTS = st.sampled_from([DRAFT_12, GO_212])


def meet(
    command: Command,
    methods: str,
    chunks: list[int],
    *,
    dialect: Dialect = DRAFT_12,
    initial_data: bytes = b"",
    operation: OperationReply = BOUND,
    accept: bool = True,
) -> Pair:
    request = Request(command=command, host="example.com", port=80)
    client = ClientConversation(
        request, methods=CLIENT_METHODS[methods](), initial_data=initial_data, dialect=dialect
    )
    server = ServerConversation(
        methods=SERVER_METHODS,
        authentication_required=methods != "none",
        deadline=10.0,
        dialects=(DRAFT_12, GO_212),
    )
    return Pair(client, server, iter(chunks), operation=operation, accept=lambda _: accept).play()


@pytest.mark.parametrize("methods", CLIENT_METHODS)
@given(chunks=CHUNKS, dialect=DIALECTS, initial=st.binary(max_size=300))
def test_a_connect_reaches_the_stream_with_its_initial_data(
    methods: str, chunks: list[int], dialect: Dialect, initial: bytes
) -> None:
    pair = meet(Command.CONNECT, methods, chunks, dialect=dialect, initial_data=initial)
    assert pair.client.state is ClientState.STREAMING
    assert pair.server.state is ServerState.STREAMING
    assert pair.server.unread() == initial
    assert pair.client.unread() == b""
    assert pair.client_events[-1] == OperationAnswered(reply=BOUND)


@pytest.mark.parametrize("methods", CLIENT_METHODS)
@given(chunks=CHUNKS)
def test_a_bind_hears_of_its_peer(methods: str, chunks: list[int]) -> None:
    pair = meet(Command.BIND, methods, chunks)
    assert pair.client_events[-2:] == [OperationAnswered(reply=BOUND), PeerConnected(reply=PEER)]


@pytest.mark.parametrize("command", [Command.NOOP, Command.CONNECT, Command.BIND, Command.UDP_ASSOCIATE])
@given(chunks=CHUNKS, code=st.integers(1, 255))
def test_every_failure_is_told_as_it_is(command: Command, chunks: list[int], code: int) -> None:
    pair = meet(command, "password", chunks, operation=OperationReply(code=code))
    assert pair.client_events[-1] == OperationAnswered(reply=OperationReply(code=code))
    assert pair.client.state is ClientState.CLOSED
    assert pair.server.state is ServerState.CLOSING


@pytest.mark.parametrize("methods", ["password", "challenge"])
@given(chunks=CHUNKS)
def test_a_refusal_is_final(methods: str, chunks: list[int]) -> None:
    pair = meet(Command.CONNECT, methods, chunks, accept=False)
    assert isinstance(pair.client_events[-1], AuthenticationRefused)
    assert isinstance(pair.server_events[-1], AuthenticationRefused)


@given(chunks=CHUNKS)
def test_two_rounds_prove_the_name(chunks: list[int]) -> None:
    pair = meet(Command.NOOP, "challenge", chunks)
    assert any(
        getattr(event, "credentials", None) == ChallengeCredentials(name=b"alice", right=True)
        for event in pair.server_events
    )
    assert isinstance(pair.client_events[0], AuthenticationAccepted)


@given(chunks=CHUNKS)
def test_the_server_sees_the_request_that_was_made(chunks: list[int]) -> None:
    pair = meet(Command.CONNECT, "none", chunks)
    request = Request(command=Command.CONNECT, host="example.com", port=80)
    assert pair.server_events[0] == RequestReceived(request=request, dialect=DRAFT_12)


@given(data=st.binary(max_size=200), chunks=CHUNKS)
def test_any_bytes_in_any_pieces_tell_the_server_the_same(data: bytes, chunks: list[int]) -> None:
    assert _events(data, [len(data)]) == _events(data, chunks)


@given(
    prefix=st.sampled_from(
        [b"\x06\x00", b"\x06\x01\x00\x08", b"\xd4\x03\x00\x00", b"\x06\x01\x00\x10\x00\x50\x00\x01"]
    ),
    data=st.binary(max_size=200),
    chunks=CHUNKS,
)
def test_hostile_requests_in_any_pieces_tell_the_server_the_same(
    prefix: bytes, data: bytes, chunks: list[int]
) -> None:
    assert _events(prefix + data, [len(prefix + data)]) == _events(prefix + data, chunks)


def _events(data: bytes, chunks: list[int]) -> tuple[list[object], bytes]:
    server = ServerConversation(
        methods={}, authentication_required=False, deadline=10.0, dialects=(DRAFT_12, GO_212)
    )
    sizes = iter(chunks)
    events: list[object] = []
    sent = b""
    while data:
        size = next(sizes, len(data))
        server.receive_data(data[:size], 0.0)
        data = data[size:]
        while (event := server.next_event()) is not None:
            events.append(event)
            sent += server.data_to_send()
    return events, sent


@given(data=st.binary(max_size=200), chunks=CHUNKS)
def test_any_bytes_in_any_pieces_tell_the_client_the_same(data: bytes, chunks: list[int]) -> None:
    assert _client_events(data, [len(data)]) == _client_events(data, chunks)


def _client_events(data: bytes, chunks: list[int]) -> list[object]:
    client = ClientConversation(
        Request(command=Command.CONNECT, host="a", port=1), methods=(ChallengeClient(),)
    )
    sizes = iter(chunks)
    events: list[object] = []
    data = b"\x06" + data
    while data:
        size = next(sizes, len(data))
        client.receive_data(data[:size], 0.0)
        data = data[size:]
        while (event := client.next_event()) is not None:
            events.append(event)
    return events
