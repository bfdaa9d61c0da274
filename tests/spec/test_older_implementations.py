"""What the two older implementations write and expect, byte by byte, and our side of it in both directions.

The Go one (version byte 212) can be spoken to (`dialect=212`). The C++ one (207, draft-07) cannot: its differences live here,
as a dialect and a table of a test's own, and show that the codec would bear them.
"""

from dataclasses import dataclass
from typing import Final, Self

from typing_extensions import override

from socks6.message.buffer import Reader
from socks6.message.codes import AuthenticationType, Availability, Command, Leg, Parity
from socks6.message.datagrams import Datagram, decode_message
from socks6.message.dialect import GO_212, DatagramLayout, Dialect
from socks6.message.options import (
    STANDARD,
    AuthenticationData,
    AuthenticationMethodAdvertisement,
    HandshakeMessage,
    Multipath,
    Option,
    OptionTable,
    PortParity,
    StackOption,
    Tos,
    UdpError,
    UnknownOption,
    find,
    find_all,
)
from socks6.message.replies import AuthenticationReply, OperationReply
from socks6.message.requests import Request
from socks6.protocol.client import ClientConversation
from socks6.protocol.events import (
    AuthenticationAccepted,
    CredentialsOffered,
    OperationAnswered,
    RequestReceived,
)
from tests.kit.playbook import Playbook, received, sent
from tests.kit.scenes import ALICE, alice, server

CPP_207: Final = Dialect(
    version=207,
    datagram_layout=DatagramLayout.DRAFT,
    aligned_options=False,
    domain_length_counts_itself=False,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Multipath07(Multipath):
    """The option in draft-07, where 1 is yes and 2 is no."""

    @override
    @classmethod
    def decode_body(cls, body: Reader) -> Self:
        return cls(availability=3 - Multipath.decode_body(body).availability)


def table_07() -> OptionTable:
    """Return the table of draft-07: stack options are answered in Authentication Replies too."""
    options: list[type[Option]] = []
    for option in STANDARD.options:
        if issubclass(option, StackOption):
            older = Multipath07 if option is Multipath else option
            options.append(
                type(option.__name__, (older,), {"messages": frozenset(HandshakeMessage), "__slots__": ()})
            )
        else:
            options.append(option)
    return OptionTable(*options)


# The Go implementation.

PASSWORD: Final = "02 01 05 616c696365 06 313233343536"
GO_REQUEST: Final = (  # the length of "example.com" counts itself; options begin where the last one ended
    f"d4 01 001c 0050 00 03 0c 6578616d706c652e636f6d 0002 0009 0000 02 0000 0004 0013 {PASSWORD}"
)


def test_a_client_of_the_go_implementation_is_let_in_by_its_password() -> None:
    scene = server(required=True, dialects=(GO_212,))
    scene >> received(GO_REQUEST)
    event = scene.machine.next_event()
    assert isinstance(event, RequestReceived)
    assert (event.request.command, event.request.host, event.request.port) == (1, "example.com", 80)
    assert find(event.request.options, AuthenticationMethodAdvertisement) is not None
    scene.machine.authenticate()
    scene << CredentialsOffered(credentials=ALICE)
    scene.machine.verified(accepted=True)
    scene.machine.next_event()
    scene.machine.send_authenticated()
    scene << sent("d4 00 0008 0004 0008 02 0100 00")
    scene.machine.send_reply(OperationReply(code=0, host="192.0.2.1", port=4711))
    scene << sent("d4 00 0000 1267 00 01 c0000201")


def test_the_go_implementation_gets_an_advertisement_beside_the_password() -> None:
    request = Request(command=Command.CONNECT, host="example.com", port=80)
    scene = Playbook(ClientConversation(request, methods=(alice(),), initial_data=b"GET", dialect=GO_212))
    scene << sent(
        "d4 01 001c 0050 00 03 0b 6578616d706c652e636f6d",  # the length as in the draft, which it takes too
        f"0002 0008 0003 02 00 0004 0014 {PASSWORD} 00",
        "474554",
    )


def test_the_go_implementation_never_gets_a_port_parity_which_ends_it() -> None:
    wishes = (PortParity(parity=Parity.EVEN, reserve=0), UdpError(availability=Availability.YES))
    request = Request(command=Command.UDP_ASSOCIATE, host="0.0.0.0", port=0, options=wishes)
    written = ClientConversation(request, dialect=GO_212).data_to_send()
    assert Request.decode(written, GO_212).options == wishes[1:]
    assert Request.decode(ClientConversation(request).data_to_send()).options == wishes


def test_what_the_go_implementation_replies_is_understood() -> None:
    request = Request(command=Command.CONNECT, host="example.com", port=80)
    scene = Playbook(ClientConversation(request, methods=(alice(),), dialect=GO_212))
    scene.machine.data_to_send()
    scene >> received("d4 00 0007 0004 0007 02 0100")  # an option of 7 bytes
    event = scene.machine.next_event()
    assert isinstance(event, AuthenticationAccepted)
    assert event.reply.options == (AuthenticationData(method=2, data=b"\x01\0"),)
    scene >> received("d4 00 0000 1267 00 03 0c 6578616d706c652e636f6d")  # the length counts itself
    scene << OperationAnswered(reply=OperationReply(code=0, host="example.com", port=4711))


def test_datagrams_of_the_go_implementation_have_the_port_first_in_both_directions() -> None:
    packet = bytes.fromhex("d4 03 0018 0102030405060708 0035 00 01 c0000201 68656c6c")
    message, layout = decode_message(packet, GO_212)
    assert layout is DatagramLayout.CONSISTENT
    assert message == Datagram(
        association_id=0x0102030405060708, host="192.0.2.1", port=53, data=bytes.fromhex("68656c6c")
    )
    assert message.encode(GO_212) == packet


# The C++ implementation.

CPP_REQUEST: Final = (  # a name without padding; TOS 0x20 and "yes" to Multipath, both about the far leg
    "cf 01 0010 0050 00 03 06 612e74657374 0001 0008 81 01 20 00 0001 0008 84 02 01 00"
)


def test_a_client_of_the_cpp_implementation_is_understood() -> None:
    request = Request.decode(bytes.fromhex(CPP_REQUEST), CPP_207, table_07())
    assert (request.host, request.port) == ("a.test", 80)
    multipath = find(request.options, Multipath)
    assert multipath is not None
    assert multipath.availability == Availability.YES
    assert find(request.options, Tos) is not None


def test_a_client_of_the_cpp_implementation_gets_its_stack_options_before_the_operation_reply() -> None:
    scene = server(dialects=(CPP_207,), table=table_07())
    scene >> received(CPP_REQUEST)
    event = scene.machine.next_event()
    assert isinstance(event, RequestReceived)
    scene.machine.authenticate()
    scene.machine.next_event()
    scene.machine.send_authenticated(tuple(find_all(event.request.options, Tos)))
    scene << sent("cf 00 0008 0001 0008 81 01 20 00")


def test_what_the_cpp_implementation_replies_is_understood() -> None:
    request = Request(command=Command.CONNECT, host="a.test", port=80)
    scene = Playbook(ClientConversation(request, dialect=CPP_207, table=table_07()))
    scene << sent("cf 01 0000 0050 00 03 07 612e74657374 00")
    scene >> received("cf 00 0010 0001 0008 81 01 20 00 0001 0008 84 02 01 00")
    event = scene.machine.next_event()
    assert isinstance(event, AuthenticationAccepted)
    tos, multipath = find(event.reply.options, Tos), find(event.reply.options, Multipath07)
    assert tos is not None
    assert multipath is not None
    assert (tos.leg, tos.tos, multipath.availability) == (Leg.PROXY_REMOTE, 0x20, Availability.YES)
    scene >> received("cf 00 0000 1267 00 03 06 622e74657374")
    scene << OperationAnswered(reply=OperationReply(code=0, host="b.test", port=4711))


def test_by_the_draft_such_options_are_not_acted_upon_but_harm_nothing() -> None:
    reply = AuthenticationReply.decode(bytes.fromhex("06 00 0008 0001 0008 81 01 20 00"))
    assert reply.type == AuthenticationType.SUCCEEDED
    assert all(isinstance(option, UnknownOption) for option in reply.options)
