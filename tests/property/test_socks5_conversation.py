"""SOCKS 4, 4a and 5: any bytes, any chunking."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from socks6.errors import DecodeError
from socks6.message.address import normalize_host
from socks6.message.socks4 import Socks4Reply, Socks4Request
from socks6.message.socks5 import (
    Socks5Datagram,
    Socks5Greeting,
    Socks5MethodSelection,
    Socks5Reply,
    Socks5Request,
)
from socks6.protocol.events import CredentialsOffered
from socks6.protocol.socks5 import Socks5Conversation, Socks5Event, SocksRequestReceived

HOSTS = st.one_of(
    st.ip_addresses().map(lambda address: normalize_host(str(address))),
    st.sampled_from(["a", "a.example", "xn--bcher-kva.example", "x" * 63 + ".example"]),
)
PORTS = st.integers(0, 65535)
BYTES = st.binary(max_size=255)
USER_IDS = BYTES.map(lambda user: user.replace(b"\0", b""))
SOCKS4_REQUESTS = st.builds(Socks4Request, command=st.integers(0, 255), host=HOSTS, port=PORTS, user=USER_IDS)
SOCKS5_REQUESTS = st.builds(Socks5Request, command=st.integers(0, 255), host=HOSTS, port=PORTS)
GREETINGS = st.lists(st.integers(0, 255), max_size=255).map(
    lambda methods: Socks5Greeting(methods=tuple(methods))
)
CREDENTIALS = st.tuples(BYTES, BYTES).map(
    lambda pair: bytes([1, len(pair[0])]) + pair[0] + bytes([len(pair[1])]) + pair[1]
)
MESSAGES = st.one_of(
    SOCKS4_REQUESTS.map(Socks4Request.encode),
    SOCKS5_REQUESTS.map(Socks5Request.encode),
    GREETINGS.map(Socks5Greeting.encode),
    st.sampled_from([b"\5\1\0", b"\5\1\2", b"\5\2\0\2"]),
    CREDENTIALS,
    st.binary(max_size=20),
)
CONVERSATIONS = st.lists(MESSAGES, max_size=5).map(b"".join)


def run(data: bytes, cuts: list[int], required: bool) -> tuple[list[Socks5Event], bytes, bytes]:
    """Hand `data` in, cut at `cuts`; return the events, the bytes sent, and what the stream gets."""
    machine = Socks5Conversation(authentication_required=required)
    events: list[Socks5Event] = []
    sent = b""
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    for start, end in itertools.pairwise(edges):
        machine.receive_data(data[start:end], 0.0)
        while (event := machine.next_event()) is not None:
            events.append(event)
            if isinstance(event, CredentialsOffered):
                machine.verified(accepted=bool(event.credentials))
            sent += machine.data_to_send()
        sent += machine.data_to_send()
        assert machine.bytes_wanted() >= 0
    return events, sent, machine.unread() if any(isinstance(e, SocksRequestReceived) for e in events) else b""


@given(CONVERSATIONS, st.lists(st.integers(0, 2000), max_size=20), st.booleans())
def test_any_chunking_gives_the_same(data: bytes, cuts: list[int], required: bool) -> None:
    assert run(data, cuts, required) == run(data, [], required) == run(data, list(range(len(data))), required)


@given(st.one_of(SOCKS4_REQUESTS, SOCKS5_REQUESTS))
def test_requests_round_trip(request: Socks4Request | Socks5Request) -> None:
    assert type(request).decode(request.encode()) == request


@given(HOSTS, PORTS, BYTES, st.integers(0, 255))
def test_datagrams_round_trip(host: str, port: int, data: bytes, fragment: int) -> None:
    datagram = Socks5Datagram(host=host, port=port, data=data, fragment=fragment)
    assert Socks5Datagram.decode(datagram.encode()) == datagram


@given(st.binary(max_size=600), st.sampled_from([
    Socks4Request, Socks4Reply, Socks5Greeting, Socks5MethodSelection, Socks5Request, Socks5Reply,
]))  # fmt: skip
def test_any_bytes_are_a_message_or_a_decode_error(
    data: bytes, kind: type[Socks4Request | Socks5Request]
) -> None:
    for prefix in (b"", b"\4", b"\5", b"\0"):
        try:
            size = kind.size(prefix + data)
            kind.decode(prefix + data)
        except DecodeError:
            continue
        assert size == len(prefix + data)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_datagram_or_a_decode_error(data: bytes) -> None:
    try:
        datagram = Socks5Datagram.decode(b"\0\0" + data)
    except DecodeError:
        return
    assert datagram.data in data
