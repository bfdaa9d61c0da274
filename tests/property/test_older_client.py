"""The client's side of the older protocols: any bytes, any chunking."""

import itertools
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from socks6.message.codes import Command
from socks6.message.requests import Request
from socks6.message.userpass import UsernamePassword
from socks6.protocol.events import ClientEvent, MessagesIgnored
from socks6.protocol.older_client import (
    HttpClientConversation,
    OlderConversation,
    OlderState,
    Socks4ClientConversation,
    Socks5ClientConversation,
)

ALICE = UsernamePassword(username=b"alice", password=b"secret")
MACHINES: dict[str, tuple[tuple[Command, ...], Callable[[Request], OlderConversation]]] = {
    "socks5": (tuple(Command), lambda request: Socks5ClientConversation(request, credentials=ALICE)),
    "socks4": ((Command.CONNECT, Command.BIND), Socks4ClientConversation),
    "http": ((Command.NOOP, Command.CONNECT), HttpClientConversation),
}
ASKED = st.sampled_from([(name, command) for name, (commands, _) in MACHINES.items() for command in commands])
PIECES = st.one_of(
    st.sampled_from([
        b"\5\0", b"\5\2", b"\5\xff", b"\1\0", b"\1\1", b"\5\0\0\1\x7f\0\0\1\0\x50", b"\5\0\0\3\1a\0\x50", b"\5\5\0\0",
        b"\0\x5a\0\x50\x7f\0\0\1", b"\0\x5b", b"\0\x5d\0\0\0\0\0\0", b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 100 x\n\n",
        b"HTTP/1.0 407 No\r\nA: b\r\n\r\n", b"HTTP/1.1 502 Bad\r\nProxy-Status: a; error=dns_error\r\n\r\n", b"SSH-2.0\r\n",
        b"\r\n", b"\n",
    ]),
    st.binary(max_size=12),
)  # fmt: skip
ANSWERS = st.lists(PIECES, max_size=6).map(b"".join)


def run(asked: tuple[str, Command], data: bytes, cuts: list[int]) -> tuple[list[ClientEvent], bytes, bytes]:
    """Hand `data` in, cut at `cuts`, and the end; return the events, the bytes sent, and what is left for the stream."""
    name, command = asked
    machine = MACHINES[name][1](Request(command=command, host="192.0.2.1", port=80))
    events: list[ClientEvent] = []
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    for start, end in itertools.pairwise(edges):
        if start < end:
            machine.receive_data(data[start:end], 0.0)
        assert machine.bytes_wanted() >= 0
    machine.receive_eof(0.0)
    while (event := machine.next_event()) is not None:
        if not isinstance(event, MessagesIgnored):
            events.append(event)
    assert machine.bytes_wanted() == 0
    streams = machine.state is OlderState.STREAMING
    return events, machine.data_to_send(), machine.unread() if streams else b""


@given(ASKED, ANSWERS, st.lists(st.integers(0, 500), max_size=20))
def test_any_chunking_gives_the_same(asked: tuple[str, Command], data: bytes, cuts: list[int]) -> None:
    assert run(asked, data, cuts) == run(asked, data, []) == run(asked, data, list(range(len(data))))
