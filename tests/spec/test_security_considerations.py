"""§ Security Considerations, and the faults of older implementations that concern handshakes."""

import asyncio
import ssl

import pytest

from socks6.client.client import Client
from socks6.message.codes import Command
from socks6.message.options import (
    STANDARD,
    AuthenticationData,
    SessionRequest,
    StreamId,
    UnknownOption,
    find,
)
from socks6.message.requests import MAX_OPTIONS_LENGTH, Request
from socks6.net.encryption.contexts import TlsParameters, client_context, server_context
from socks6.net.stream import ByteStream
from socks6.net.transports.tls import TlsSession
from socks6.policy.rules import Policy, Rule
from socks6.protocol.events import Ended, RequestReceived, Violation, ViolationKind
from socks6.protocol.states import ServerState
from socks6.proxy.worker import ServerWorker
from tests.kit.certificates import certificate
from tests.kit.challenge import NUMBER, ChallengeClient
from tests.kit.loops import Run
from tests.kit.memory import memory_stream_pair
from tests.kit.outbounds import ScriptedOutbound
from tests.kit.playbook import Elapsed, Received, eof, nothing, received, sent
from tests.kit.reading import receive_all, receive_exactly
from tests.kit.scenes import client, server
from tests.kit.session_scene import Scene

CONNECT = Request(command=Command.CONNECT, host="example.com", port=80)
LARGEST = Request(
    command=Command.CONNECT,
    host=".".join(["a" * 63] * 4),
    port=80,
    options=(UnknownOption(kind=0xFE01, body=bytes(MAX_OPTIONS_LENGTH - 4)),),
)


# Large requests.


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1460])
def test_requests_are_parsed_incrementally(size: int) -> None:
    whole = LARGEST.encode()
    scene = server()
    for start in range(0, len(whole), size):
        scene << nothing
        scene >> Received(whole[start : start + size])
    event = scene.machine.next_event()
    assert isinstance(event, RequestReceived)
    assert event.request == LARGEST


def test_the_largest_request_is_about_20_kb() -> None:
    assert len(LARGEST.encode()) == 8 + 256 + 20480


def test_a_request_that_is_not_there_in_time_is_closed_without_an_answer() -> None:
    scene = server()
    scene >> received("06 01 0000 0050 00 01 7f0000")
    assert scene.machine.next_timeout() == 10.0
    scene >> Elapsed(10.0)
    event = scene.machine.next_event()
    assert isinstance(event, Violation)
    assert event.kind is ViolationKind.DEADLINE
    scene << nothing


def test_trickled_bytes_buy_no_time() -> None:
    scene = server()
    for second in range(7):
        scene >> Elapsed(float(second)) >> received("00" if second else "06")
    assert scene.machine.next_timeout() == 10.0


def test_too_large_a_request_is_refused_by_its_first_4_bytes() -> None:
    scene = server()
    scene >> received("06 01 5001") << sent("06 01 0000")
    assert scene.machine.state is ServerState.CLOSING


def test_too_many_options_are_refused() -> None:
    options = "fe01 0004" * 257
    scene = server()
    scene >> received("06 00 0404 0000 00 01 00000000", options) << sent("06 01 0000")
    assert scene.machine.state is ServerState.CLOSING


def test_a_listener_may_ignore_requests_in_pieces() -> None:
    scene = server(whole_request=True)
    scene >> received("06 01 0000 0050 00 01 7f0000")
    event = scene.machine.next_event()
    assert isinstance(event, Violation)
    assert event.kind is ViolationKind.FRAGMENTED
    scene << nothing


@pytest.mark.parametrize(
    "hostile",
    [
        "05",
        "06 01 5001",
        "06 01 0000 0050 00 02",
        "06 01 0000 0050 00 03 00",
        "06 01 0004 0050 00 01 7f000001 fe01 0003",
        "06 01 0008 0050 00 01 7f000001 0002 0008 4001 8000",
    ],
)
def test_a_quiet_proxy_says_nothing_to_a_fault(hostile: str) -> None:
    scene = server(quiet=True)
    scene >> received(hostile)
    assert isinstance(scene.machine.next_event(), Violation)
    scene << nothing


@pytest.mark.parametrize(
    "option", ["", "0004 0014 02 01 05 616c696365 06 313233343536 00", "0002 0008 0000 0100"]
)
def test_a_quiet_proxy_says_nothing_to_a_refusal(option: str) -> None:
    scene = server(quiet=True, required=True)
    size = len(bytes.fromhex(option))
    scene >> received(f"06 00 {size:04x} 0000 00 01 00000000", option)
    scene.machine.next_event()
    scene.machine.authenticate()
    if scene.machine.state is ServerState.VERIFYING:
        scene.machine.verified(accepted=False)
    assert scene.machine.state is ServerState.CLOSING
    assert scene.machine.data_to_send() == b""


# Faults of older implementations.


def test_a_reply_may_come_byte_by_byte_and_what_follows_stays_in_the_stream(run: Run) -> None:
    async def scene() -> None:
        near, far = memory_stream_pair(capacity=1)
        async with asyncio.TaskGroup() as group:
            group.create_task(receive_exactly(far, len(CONNECT.encode())))
            replies = bytes.fromhex("06 00 0000  06 00 0000 0050 00 03 03 616263")
            group.create_task(far.send(replies + b"data"))

            async def dial() -> ByteStream:
                return near

            stream = await Client("socks6://memory", dial=dial).connect(CONNECT.host, CONNECT.port)
            assert stream.bound == ("abc", 80)
            assert await receive_exactly(stream, 4) == b"data"

    run(scene())


def test_the_rules_run_before_any_name_is_resolved(run: Run) -> None:
    async def scene() -> None:
        outbound = ScriptedOutbound()
        policy = Policy(rules=(Rule.parse("deny", hosts=[".example.com", "example.com"]),))
        near, far = memory_stream_pair()
        async with asyncio.TaskGroup() as group:
            group.create_task(ServerWorker(outbound=outbound, policy=policy).serve_stream(far))
            await near.send(CONNECT.encode())
            await near.send_eof()
            assert (await receive_all(near)).hex() == "06000000" + "060200000000000100000000"
        assert outbound.dialled == []

    run(scene())


@pytest.mark.parametrize("start", ["", "06", "06 01 0000 0050 00 03 0b"])
def test_a_client_that_goes_away_ends_its_conversation(start: str) -> None:
    scene = server()
    scene >> received(start) >> eof
    assert isinstance(scene.machine.next_event(), Ended)
    assert scene.machine.bytes_wanted() == 0


def test_initial_data_are_sent_as_announced() -> None:
    scene = client(methods=(ChallengeClient(),), initial_data=b"GET /")
    written = scene.machine.data_to_send()
    size = Request.size(written)
    assert int.from_bytes(written[size - 4 : size - 2]) == len(written) - size == 5


def test_no_table_of_options_can_be_changed() -> None:
    before = STANDARD.options
    with pytest.raises(ValueError, match="two options"):
        STANDARD.extended(*before)
    assert STANDARD.options is before
    with pytest.raises(AttributeError):
        STANDARD.more = ()  # type: ignore[attr-defined]  # that is the point


def test_an_option_too_short_for_its_length_reads_nothing_of_the_next() -> None:
    scene = server()
    body = "0004 0008 80 616263", "0005 0004"
    scene >> received("06 00 000c 0000 00 01 00000000", *body)
    event = scene.machine.next_event()
    assert isinstance(event, RequestReceived)
    assert find(event.request.options, AuthenticationData) == AuthenticationData(method=NUMBER, data=b"abc")
    assert find(event.request.options, SessionRequest) == SessionRequest()
    assert find(event.request.options, StreamId) is None


def test_sessions_are_capped_by_user_and_by_address(run: Run) -> None:
    async def scene() -> None:
        proxy = Scene.with_sessions(per_user=2, per_source=3)
        first = await proxy.open(source="198.51.100.1")
        for number in range(2, 50):
            await proxy.open(source=f"198.51.100.{number}")  # his oldest gives way each time
        assert len(proxy.store) == 2
        assert not (await proxy.ask(first)).succeeded
        for name in ("alice", "bob", "bob", "alice"):
            await proxy.open(name=name, source="2001:db8::1")
        assert len(proxy.store) == 3  # one network of IPv6 has three of the four

    run(scene())


def test_no_tls_early_data_is_sent() -> None:
    """Not even by a client that has a ticket; a server's tickets allow none (tests/e2e/test_tls.py)."""
    with certificate() as files:
        context = client_context(TlsParameters(ca=files.ca))
        client = TlsSession(context, server_hostname="localhost")
        proxy = TlsSession(server_context(files.server), server_side=True)
    for _ in range(2):
        proxy.incoming.write(client.begin())
        client.incoming.write(proxy.begin())
    proxy.tls.write(b"!")
    client.incoming.write(proxy.outgoing.read())
    assert client.tls.read(1) == b"!"
    assert isinstance(client.tls.session, ssl.SSLSession)
    again = TlsSession(context, server_hostname="localhost", session=client.tls.session)
    extensions = hello_extensions(again.begin())
    assert PRE_SHARED_KEY in extensions
    assert EARLY_DATA not in extensions


PRE_SHARED_KEY = 41
EARLY_DATA = 42


def hello_extensions(record: bytes) -> set[int]:
    """Return which extensions a ClientHello has (RFC 8446 §4.1.2)."""
    at = 5 + 4 + 2 + 32
    at += 1 + record[at]  # session id
    at += 2 + int.from_bytes(record[at : at + 2], "big")  # cipher suites
    at += 1 + record[at]  # compression
    at += 2
    found = set()
    while at < len(record):
        found.add(int.from_bytes(record[at : at + 2], "big"))
        at += 4 + int.from_bytes(record[at + 2 : at + 4], "big")
    return found
