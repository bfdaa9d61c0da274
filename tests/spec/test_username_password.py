"""§ Username/Password Authentication, and RFC 1929."""

import asyncio

import pytest

from socks6.errors import AuthenticationFailed, DecodeError
from socks6.message.codes import Command
from socks6.message.dialect import GO_212
from socks6.message.options import AuthenticationData, AuthenticationMethodAdvertisement, find
from socks6.message.requests import Request
from socks6.message.userpass import UsernamePassword, UsernamePasswordReply
from socks6.protocol.events import (
    Authenticated,
    AuthenticationAccepted,
    AuthenticationRefused,
    CredentialsOffered,
    RequestReceived,
)
from socks6.protocol.methods.userpass import UsernamePasswordClient, UsernamePasswordCredentials
from socks6.protocol.states import ClientState, ServerState
from socks6.proxy.authentication.table import UserTable
from socks6.proxy.worker import ServerWorker
from tests.kit.loops import Run
from tests.kit.memory import memory_stream_pair
from tests.kit.outbounds import ScriptedOutbound
from tests.kit.playbook import received, sent
from tests.kit.proxied import scripted
from tests.kit.reading import receive_all
from tests.kit.scenes import ALICE, alice, asking, client, judged, server

OPTION = "0004 0014 02 01 05 616c696365 06 313233343536 00"
OFFER = AuthenticationData(method=2, data=bytes.fromhex("01 05 616c696365 06 313233343536"))
NOOP = Request(command=Command.NOOP, host="0.0.0.0", port=0)


# On the wire.


def test_a_client_places_the_request_of_rfc_1929_in_an_option() -> None:
    client(methods=(alice(),)) << sent("06 01 0014 0050 00 01 7f000001", OPTION)


def test_padding_up_to_3_bytes_is_not_part_of_the_password() -> None:
    for length in range(4):
        data = UsernamePassword(username=b"u", password=b"p" * length).encode()
        padded = data + bytes(-(1 + len(data)) % 4)
        assert UsernamePassword.decode(padded).password == b"p" * length


def test_older_implementations_leave_the_padding_out() -> None:
    scene = server(required=True, dialects=(GO_212,))
    scene >> received("d4 00 0013 0000 00 01 00000000", "0004 0013 02 01 05 616c696365 06 313233343536")
    assert isinstance(scene.machine.next_event(), RequestReceived)
    scene.machine.authenticate()
    scene << CredentialsOffered(credentials=ALICE)


def test_names_and_passwords_are_bytes_of_up_to_255() -> None:
    longest = UsernamePassword(username=b"\xff" * 255, password=b"\x00" * 255)
    assert UsernamePassword.decode(longest.encode()) == longest


@pytest.mark.parametrize(("username", "password"), [(b"u" * 256, b"p"), (b"u", b"p" * 256)])
def test_longer_ones_are_the_callers_error(username: bytes, password: bytes) -> None:
    with pytest.raises(ValueError, match="length"):
        UsernamePasswordClient(UsernamePasswordCredentials(username=username, password=password))


def test_the_reply_of_rfc_1929_is_its_version_and_a_status() -> None:
    assert UsernamePasswordReply(status=0).encode() == b"\x01\x00"


@pytest.mark.parametrize(
    "body", ["", "01", "05 01 75 01 70", "01 05 75", "01 01 75 05 70", "01 01 75 01 70 00000000"]
)
def test_what_is_no_request_of_rfc_1929_is_refused(body: str) -> None:
    with pytest.raises(DecodeError):
        UsernamePassword.decode(bytes.fromhex(body))


@pytest.mark.parametrize("body", ["05 01 75 01 70", "01 05 75", "01 01 75 05 70"])
def test_malformed_credentials_are_no_credentials(body: str) -> None:
    judged(AuthenticationData(method=2, data=bytes.fromhex(body))) << sent("06 01 0000")


# In the conversation.


def test_the_proxy_replies_in_the_next_authentication_reply() -> None:
    scene = judged(OFFER)
    scene << CredentialsOffered(credentials=ALICE)
    scene.machine.verified(accepted=True)
    scene << Authenticated()
    scene.machine.send_authenticated()
    scene << sent("06 00 0008", "0004 0008 02 0100 00")


def test_wrong_credentials_are_answered_by_a_failing_status_and_a_close() -> None:
    scene = judged(OFFER)
    scene.machine.next_event()
    scene.machine.verified(accepted=False)
    scene << sent("06 01 0008", "0004 0008 02 0101 00")
    assert scene.machine.state is ServerState.CLOSING


def test_it_is_exclusively_0_rtt() -> None:
    scene = judged(AuthenticationMethodAdvertisement(methods=(2,)))
    scene << sent("06 01 0008", "0003 0008 ff 000000")


def test_a_client_does_not_advertise_it() -> None:
    scene = client(methods=(alice(),))
    request = Request.decode(scene.machine.data_to_send())
    assert find(request.options, AuthenticationMethodAdvertisement) is None


def test_a_client_does_not_negotiate_it() -> None:
    scene = asking(methods=(alice(),))
    scene >> received("06 01 0008", "0003 0008 02 000000")
    assert isinstance(scene.machine.next_event(), AuthenticationRefused)
    assert scene.machine.state is ClientState.CLOSED


def test_a_client_accepts_a_success_with_the_methods_reply() -> None:
    scene = asking(methods=(alice(),))
    scene >> received("06 00 0008", "0004 0008 02 0100 00")
    assert isinstance(scene.machine.next_event(), AuthenticationAccepted)


def test_a_client_accepts_a_success_without_the_methods_reply() -> None:
    scene = asking(methods=(alice(),))
    scene >> received("06 00 0000")
    assert isinstance(scene.machine.next_event(), AuthenticationAccepted)


def test_a_client_is_told_that_it_was_refused(run: Run) -> None:
    async def scene() -> None:
        refusal = bytes.fromhex("06 01 0008  0004 0008 02 0101 00")
        async with scripted(refusal, methods=(alice,), session=False) as client:
            with pytest.raises(AuthenticationFailed):
                await client.noop()

    run(scene())


# At the proxy.


async def answer_of(users: dict[str, str], option: str) -> str:
    """Return what a proxy with these users answers to a NOOP with one option."""
    near, far = memory_stream_pair()
    body = bytes.fromhex(option)
    worker = ServerWorker(authenticator=UserTable.from_plain(users), outbound=ScriptedOutbound())
    async with asyncio.TaskGroup() as group:
        group.create_task(worker.serve_stream(far))
        await near.send(bytes.fromhex(f"06 00 {len(body):04x} 0000 00 01 00000000") + body)
        await near.send_eof()
        return (await receive_all(near)).hex()


def test_a_user_is_let_in(run: Run) -> None:
    async def scene() -> None:
        answer = await answer_of({"alice": "123456"}, OPTION)
        assert answer == "060000080004000802010000" + "060000000000000100000000"

    run(scene())


@pytest.mark.parametrize("users", [{"alice": "1234567"}, {"bob": "123456"}, {"Alice": "123456"}])
def test_nobody_else_is_let_in_nor_told_why(run: Run, users: dict[str, str]) -> None:
    async def scene() -> None:
        assert await answer_of(users, OPTION) == "060100080004000802010100"  # and no operation reply

    run(scene())


def test_nobody_is_let_in_without_credentials(run: Run) -> None:
    async def scene() -> None:
        assert await answer_of({"alice": "123456"}, "") == "06010000"

    run(scene())


def test_a_password_is_no_business_of_logs() -> None:
    assert "123456" not in repr(UsernamePassword(username=b"alice", password=b"123456"))
    assert "123456" not in repr(ALICE)
