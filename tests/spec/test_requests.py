"""§ Requests."""

import pytest

from socks6.errors import DecodeError
from socks6.message.codes import Command
from socks6.message.dialect import DRAFT_12, GO_212
from socks6.message.options import AuthenticationMethodAdvertisement, UnknownOption
from socks6.message.requests import MAX_OPTIONS_LENGTH, Request
from socks6.protocol.events import RequestReceived, Violation, ViolationKind
from socks6.protocol.server import ServerConversation
from socks6.protocol.states import ServerState
from tests.kit.challenge import ChallengeClient
from tests.kit.playbook import Playbook, received, sent
from tests.kit.scenes import client, server


def decode(*parts: str) -> Request:
    return Request.decode(bytes.fromhex("".join(parts)))


def encode(host: str, port: int = 80) -> str:
    return Request(command=Command.CONNECT, host=host, port=port).encode().hex(" ")


def is_malformed(scene: Playbook[ServerConversation]) -> bool:
    event = scene.machine.next_event()
    return isinstance(event, Violation) and event.kind is ViolationKind.MALFORMED


# The fields.


def test_the_fields_stand_where_the_figure_puts_them() -> None:
    assert encode("192.0.2.1", 443) == "06 01 00 00 01 bb 00 01 c0 00 02 01"


def test_the_commands_have_their_codes() -> None:
    assert [command.name for command in sorted(Command)] == ["NOOP", "CONNECT", "BIND", "UDP_ASSOCIATE"]
    assert [command.value for command in sorted(Command)] == [0, 1, 2, 3]


def test_the_port_is_in_network_byte_order() -> None:
    assert decode("06 01 0000 0050 00 01 7f000001").port == 80


def test_padding_is_written_as_zero() -> None:
    assert Request(command=1, host="127.0.0.1", port=0xFFFF).encode()[6] == 0


def test_padding_is_not_looked_at() -> None:
    assert decode("06 01 0000 0050 ff 01 7f000001") == Request(command=1, host="127.0.0.1", port=80)


def test_the_options_length_is_the_size_of_all_options() -> None:
    options = (UnknownOption(kind=0xFE01, body=bytes(4)), UnknownOption(kind=0xFE02, body=b""))
    assert Request(command=1, host="127.0.0.1", port=80, options=options).encode()[2:4] == b"\x00\x0c"


def test_options_must_not_exceed_20_kb_when_written() -> None:
    options = (UnknownOption(kind=0xFE01, body=bytes(10240)),) * 2
    with pytest.raises(ValueError, match="20480"):
        Request(command=1, host="127.0.0.1", port=80, options=options).encode()


def test_options_of_20_kb_are_written_and_read() -> None:
    option = UnknownOption(kind=0xFE01, body=bytes(MAX_OPTIONS_LENGTH - 4))
    request = Request(command=1, host="127.0.0.1", port=80, options=(option,))
    assert Request.decode(request.encode()) == request


def test_options_must_not_exceed_20_kb_when_read() -> None:
    scene = server()
    scene >> received("06 01 5001") << sent("06 01 0000")
    assert is_malformed(scene)


# The address.


def test_an_ipv4_address_has_4_bytes() -> None:
    assert encode("127.0.0.1").endswith("01 7f 00 00 01")


def test_an_ipv6_address_has_16_bytes() -> None:
    assert encode("2001:db8::1").endswith("04 20 01 0d b8 00 00 00 00 00 00 00 00 00 00 00 01")


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("a", "03 03 61 00 00"),
        ("ab", "03 03 61 62 00"),
        ("abc", "03 03 61 62 63"),
        ("abcd", "03 07 61 62 63 64 00 00 00"),
    ],
)
def test_a_domain_name_is_padded_with_nul_which_its_length_byte_counts(name: str, written: str) -> None:
    assert encode(name).endswith(written)


def test_a_domain_name_without_padding_ends_without_nul() -> None:
    assert encode("example.com").endswith("03 0b 65 78 61 6d 70 6c 65 2e 63 6f 6d")


@pytest.mark.parametrize("written", ["03 61 00 00", "01 61", "02 61 00", "07 61 000000000000"])
def test_padding_of_a_domain_name_is_stripped_whatever_its_size(written: str) -> None:
    assert decode("06 01 0000 0050 00 03", written).host == "a"


@pytest.mark.parametrize(
    "written", ["00", "03 000000", "03 61 00 62", "03 61 20 62", "03 61 2f 62", "03 ff fe fd", "03 2e 2e 2e"]
)
def test_a_name_that_no_host_can_have_is_refused(written: str) -> None:
    scene = server()
    scene >> received("06 01 0000 0050 00 03", written) << sent("06 01 0000")
    assert is_malformed(scene)
    assert scene.machine.state is ServerState.CLOSING


def test_a_name_of_255_bytes_fits() -> None:
    name = ".".join(["a" * 63] * 4)
    assert decode(encode(name)).host == name
    assert len(name) == 255


def test_a_longer_name_is_the_callers_error() -> None:
    with pytest.raises(ValueError, match="no host name"):
        encode(".".join(["a" * 63] * 4) + "a")


def test_an_unknown_address_type_is_answered_with_08() -> None:
    scene = server()
    scene >> received("06 01 0000 0050 00 02") << sent("06 01 0000", "06 08 0000 0000 00 01 00000000")
    assert is_malformed(scene)


def test_an_older_implementations_name_length_may_count_itself() -> None:
    whole = bytes.fromhex("d4 01 0000 0050 00 03 0c") + b"example.com"
    assert Request.decode(whole, GO_212).host == "example.com"


def test_in_the_draft_a_name_length_never_counts_itself() -> None:
    whole = bytes.fromhex("06 01 0000 0050 00 03 0c") + b"example.com"
    assert Request.size(whole, DRAFT_12) == len(whole) + 1


def test_an_older_implementation_gets_the_drafts_name_length() -> None:
    whole = Request(command=1, host="example.com", port=80).encode(GO_212)
    assert whole == bytes.fromhex("d4 01 0000 0050 00 03 0b") + b"example.com"


# What address and port mean.


def test_a_noop_carries_zeros_whatever_the_caller_says() -> None:
    client(Command.NOOP) << sent("06 00 0000 0000 00 01 00000000")


def test_address_and_port_of_a_noop_have_no_meaning() -> None:
    scene = server()
    scene >> received("06 00 0000 0050 00 04 20010db8000000000000000000000001")
    event = scene.machine.next_event()
    assert isinstance(event, RequestReceived)
    scene.machine.authenticate()
    scene.machine.next_event()
    scene.machine.send_authenticated()
    scene << sent("06 00 0000")


@pytest.mark.parametrize("command", [Command.BIND, Command.UDP_ASSOCIATE])
def test_no_certain_address_or_port_is_all_zeros(command: Command) -> None:
    request = Request(command=command, host="::", port=0)
    assert request.encode()[4:] == bytes.fromhex("0000 00 04") + bytes(16)
    assert Request.decode(request.encode()) == request


def test_a_client_advertises_its_methods_in_an_option() -> None:
    scene = client(methods=(ChallengeClient(),))
    scene << sent("06 01 0008 0050 00 01 7f000001", "0002 0008 0000 80 00")


def test_a_client_without_methods_advertises_nothing() -> None:
    client() << sent("06 01 0000 0050 00 01 7f000001")


# Framing.


def test_an_option_past_the_end_of_the_options_is_refused() -> None:
    scene = server()
    scene >> received("06 01 0008 0050 00 01 7f000001", "fe01 000c 00000000") << sent("06 01 0000")
    assert is_malformed(scene)


def test_an_option_cannot_reach_into_the_stream_behind_the_request() -> None:
    scene = server()
    scene >> received("06 01 0004 0050 00 01 7f000001", "fe01 0008", "00000000") << sent("06 01 0000")
    assert is_malformed(scene)


def test_a_request_is_exactly_as_long_as_it_says() -> None:
    with pytest.raises(DecodeError):
        decode("06 01 0000 0050 00 01 7f000001 00")


def test_an_advertisement_is_read_back() -> None:
    request = decode("06 01 0008 0050 00 01 7f000001", "0002 0008 0000 80 00")
    assert request.options == (AuthenticationMethodAdvertisement(methods=(0x80,)),)
