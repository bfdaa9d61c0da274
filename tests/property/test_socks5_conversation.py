"""SOCKS 4, 4a and 5: any bytes, any chunking."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from socks6.errors import DecodeError
from socks6.message.address import normalize_host
from socks6.message.socks4 import Socks4Request
from socks6.message.socks5 import Socks5Greeting, Socks5Request
from socks6.protocol.events import CredentialsOffered
from socks6.protocol.socks5 import Socks5Conversation, Socks5Event, SocksRequestReceived
from tests.kit.socks_messages import (
    Socks5Datagram,
    decode_socks5_datagram,
    socks4_request,
    socks5_greeting,
    socks5_request,
)

HOSTS = st.one_of(
    st.ip_addresses().map(lambda address: normalize_host(str(address))),
    st.sampled_from(["a", "a.example", "xn--bcher-kva.example", "x" * 63 + ".example"]),
)
PORTS = st.integers(0, 65535)
BYTES = st.binary(max_size=255)
USER_IDS = BYTES.map(lambda user: user.replace(b"\0", b""))
COMMANDS = st.integers(0, 255)
GREETINGS = st.lists(st.integers(0, 255), max_size=255).map(lambda methods: socks5_greeting(*methods))
CREDENTIALS = st.tuples(BYTES, BYTES).map(
    lambda pair: bytes([1, len(pair[0])]) + pair[0] + bytes([len(pair[1])]) + pair[1]
)
MESSAGES = st.one_of(
    st.builds(socks4_request, COMMANDS, HOSTS, PORTS, USER_IDS),
    st.builds(socks5_request, COMMANDS, HOSTS, PORTS),
    GREETINGS,
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


@given(COMMANDS, HOSTS, PORTS, USER_IDS)
def test_requests_are_read_as_they_were_written(command: int, host: str, port: int, user: bytes) -> None:
    assert Socks5Request.decode(socks5_request(command, host, port)) == Socks5Request(
        command=command, host=host, port=port
    )
    assert Socks4Request.decode(socks4_request(command, host, port, user)) == Socks4Request(
        command=command, host=host, port=port, user=user
    )


@given(HOSTS, PORTS, BYTES, st.integers(0, 255))
def test_datagrams_are_read_as_they_were_written(host: str, port: int, data: bytes, fragment: int) -> None:
    datagram = Socks5Datagram(host=host, port=port, data=data, fragment=fragment)
    assert decode_socks5_datagram(datagram.encode()) == datagram


@given(st.binary(max_size=600), st.sampled_from([
    Socks4Request, Socks5Greeting, Socks5Request,
]))  # fmt: skip
def test_any_bytes_are_a_message_or_a_decode_error(
    data: bytes, kind: type[Socks4Request | Socks5Greeting | Socks5Request]
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
        datagram = decode_socks5_datagram(b"\0\0" + data)
    except DecodeError:
        return
    assert datagram.data in data
