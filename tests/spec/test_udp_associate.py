"""§ Handling UDP ASSOCIATE: what binds on the wire and in the conversation; the relay is in `_in_the_proxy`."""

import pytest

from socks6.errors import DecodeError
from socks6.message.codes import Command, DatagramErrorCode, MessageType
from socks6.message.datagrams import (
    AssociationConfirmation,
    AssociationInitialization,
    AssociationMessage,
    Datagram,
    DatagramError,
    decode_message,
    parse_header,
)
from socks6.message.dialect import DRAFT_12, GO_212, DatagramLayout
from socks6.message.replies import OperationReply
from socks6.protocol.client import ClientConversation
from socks6.protocol.events import AssociationMessageReceived, Ended, Violation, ViolationKind
from socks6.protocol.server import ServerConversation
from socks6.protocol.states import ClientState, ServerState
from tests.kit.playbook import Playbook, Received, eof, nothing, received
from tests.kit.scenes import admitted, asking

DRAFT, CONSISTENT = DatagramLayout.DRAFT, DatagramLayout.CONSISTENT
ID = 0x0102030405060708
HEADER_ID = "0102030405060708"
BOUND = OperationReply(code=0, host="192.0.2.1", port=1080)
HELLO = Datagram(association_id=ID, host="127.0.0.1", port=53, data=b"hi")
HELLO_HEX = f"06 03 0016 {HEADER_ID} 01 00 0035 7f000001 6869"
OPENING = f"06 03 0014 {HEADER_ID} 01 00 0000 00000000"
ERROR = DatagramError(association_id=ID, host="192.0.2.1", port=53, code=2, reporter="10.0.0.1")


def serving() -> Playbook[ServerConversation]:
    """Return a server whose client has an association."""
    scene = admitted(command=Command.UDP_ASSOCIATE)
    scene.machine.send_reply(BOUND)
    scene.machine.data_to_send()
    return scene


def using() -> Playbook[ClientConversation]:
    """Return a client that has an association."""
    scene = asking(Command.UDP_ASSOCIATE)
    scene >> received("06 00 0000", BOUND.encode().hex())
    while scene.machine.next_event() is not None:
        pass
    return scene


def came(message: AssociationMessage, layout: DatagramLayout | None = None) -> AssociationMessageReceived:
    return AssociationMessageReceived(message=message, layout=layout)


# The messages.


def test_the_message_types_have_their_numbers() -> None:
    assert [kind.value for kind in MessageType] == [1, 2, 3, 4]


def test_an_initialization_has_12_bytes() -> None:
    assert AssociationInitialization(association_id=ID).encode() == bytes.fromhex(f"06 01 000c {HEADER_ID}")


def test_a_confirmation_has_12_bytes() -> None:
    assert AssociationConfirmation(association_id=ID).encode() == bytes.fromhex(f"06 02 000c {HEADER_ID}")


def test_a_datagram_has_its_address_type_first_as_the_draft_draws_it() -> None:
    assert HELLO.encode() == bytes.fromhex(HELLO_HEX)


def test_older_implementations_have_the_port_first() -> None:
    assert HELLO.encode(GO_212) == bytes.fromhex(f"d4 03 0016 {HEADER_ID} 0035 00 01 7f000001 6869")


def test_the_message_length_counts_the_whole_message() -> None:
    assert int.from_bytes(HELLO.encode()[2:4]) == len(HELLO.encode())


def test_a_message_longer_than_its_length_can_say_is_the_callers_error() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        Datagram(association_id=ID, host="127.0.0.1", port=53, data=bytes(65516)).encode()


@pytest.mark.parametrize("host", ["127.0.0.1", "2001:db8::1", "example.com"])
@pytest.mark.parametrize("layout", DatagramLayout)
def test_datagrams_carry_every_type_of_address_in_both_layouts(host: str, layout: DatagramLayout) -> None:
    datagram = Datagram(association_id=ID, host=host, port=53, data=b"hi")
    assert decode_message(datagram.encode(layout=layout)) == (datagram, layout)


@pytest.mark.parametrize(("port", "other"), [(1, 256), (3, 768), (4, 1024)])
def test_where_both_layouts_fit_the_dialects_counts(port: int, other: int) -> None:
    kind = {1: "01", 3: "03", 4: "04"}[port]
    both = bytes.fromhex(f"{kind} 00 00 {port:02x}")
    address = b"\x0bexample.com" if port == 3 else bytes(16)
    tail = HEADER_ID, (both + address).hex()
    size = 12 + len(both + address)
    drafts, _ = decode_message(bytes.fromhex(f"06 03 {size:04x}" + "".join(tail)), DRAFT_12)
    consistent, _ = decode_message(bytes.fromhex(f"d4 03 {size:04x}" + "".join(tail)), GO_212)
    assert isinstance(drafts, Datagram)
    assert isinstance(consistent, Datagram)
    assert (drafts.port, consistent.port) == (port, other)


def test_padding_behind_a_datagram_must_be_ignored() -> None:
    padded = bytes.fromhex(HELLO_HEX) + b"padding"
    assert decode_message(padded) == (HELLO, DRAFT)
    header = parse_header(padded, DRAFT_12, DRAFT)
    assert header is not None
    assert padded[header[2] : header[3]] == b"hi"


def test_a_message_longer_than_its_datagram_must_be_ignored() -> None:
    cut = bytes.fromhex(HELLO_HEX)[:-1]
    assert parse_header(cut, DRAFT_12, DRAFT) is None
    with pytest.raises(DecodeError):
        decode_message(cut)


@pytest.mark.parametrize("layout", DatagramLayout)
def test_an_empty_datagram_to_no_address_opens_an_association(layout: DatagramLayout) -> None:
    opening = Datagram(association_id=ID, host="0.0.0.0", port=0, data=b"")
    assert decode_message(opening.encode(layout=layout)) == (opening, layout)


# Messages over the connection.


def test_a_client_hears_of_its_association_and_its_confirmation() -> None:
    scene = using()
    scene >> received(f"06 01 000c {HEADER_ID}", f"06 02 000c {HEADER_ID}")
    scene << came(AssociationInitialization(association_id=ID))
    scene << came(AssociationConfirmation(association_id=ID)) << nothing


def test_datagrams_may_travel_over_the_connection() -> None:
    scene = serving()
    scene >> received(HELLO_HEX) << came(HELLO, DRAFT)


def test_messages_over_the_connection_follow_each_other_without_padding() -> None:
    scene = serving()
    for byte in bytes.fromhex(HELLO_HEX + OPENING):
        scene >> Received(bytes((byte,)))
    opening = Datagram(association_id=ID, host="0.0.0.0", port=0, data=b"")
    scene << came(HELLO, DRAFT) << came(opening, DRAFT) << nothing


@pytest.mark.parametrize(
    "message",
    [
        f"06 01 000c {HEADER_ID}",
        f"06 02 000c {HEADER_ID}",
        f"06 04 001c {HEADER_ID} 01 00 0035 c0000201 01 02 0000 0a000001",
        f"06 05 000c {HEADER_ID}",
        f"06 03 0014 {HEADER_ID} 02 00 0035 7f000001",
        f"06 03 000c {HEADER_ID}",
    ],
)
def test_a_proxy_silently_drops_messages_that_are_no_datagrams(message: str) -> None:
    scene = serving()
    scene >> received(message) << nothing
    scene >> received(HELLO_HEX) << came(HELLO, DRAFT)


@pytest.mark.parametrize("start", ["05 03 0016", "06 03 000b", "06 03 0000"])
def test_an_association_is_closed_when_framing_is_lost(start: str) -> None:
    scene = serving()
    scene >> received(start)
    event = scene.machine.next_event()
    assert isinstance(event, Violation)
    assert event.kind is ViolationKind.MALFORMED
    assert scene.machine.state is ServerState.CLOSING


def test_an_association_lasts_as_long_as_its_connection_for_the_proxy() -> None:
    scene = serving()
    scene >> eof << Ended(reason="the client closed its side")
    assert scene.machine.state is ServerState.CLOSING


def test_an_association_lasts_as_long_as_its_connection_for_the_client() -> None:
    scene = using()
    scene >> eof
    assert isinstance(scene.machine.next_event(), Ended)
    assert scene.machine.state is ClientState.CLOSED


# § Reporting ICMP Errors.


def test_the_error_codes_have_their_numbers() -> None:
    assert {code.name: code.value for code in DatagramErrorCode} == {
        "NETWORK_UNREACHABLE": 1,
        "HOST_UNREACHABLE": 2,
        "TTL_EXPIRED": 3,
        "TOO_BIG": 4,
    }


def test_an_error_is_written_as_its_figure_shows() -> None:
    written = f"06 04 001c {HEADER_ID} 01 00 0035 c0000201 01 02 0000 0a000001"
    assert ERROR.encode() == bytes.fromhex(written)


def test_an_error_has_a_layout_of_its_own_in_older_implementations() -> None:
    written = f"06 04 001c {HEADER_ID} 0035 00 01 c0000201 0000 02 01 0a000001"
    assert ERROR.encode(layout=CONSISTENT) == bytes.fromhex(written)


def test_an_error_names_addresses_only_when_written() -> None:
    with pytest.raises(ValueError, match="no address"):
        DatagramError(association_id=ID, host="example.com", port=53, code=2, reporter="10.0.0.1")


def test_an_error_names_addresses_only_when_read() -> None:
    with pytest.raises(DecodeError):
        decode_message(bytes.fromhex(f"06 04 001c {HEADER_ID} 03 00 0035 03616263 01 02 0000 0a000001"))


def test_a_client_hears_of_an_error() -> None:
    scene = using()
    scene >> Received(ERROR.encode()) << came(ERROR, DRAFT)
