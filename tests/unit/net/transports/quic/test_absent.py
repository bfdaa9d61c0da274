"""A port without QUIC says so to its clients."""

from typing_extensions import override

from socks6.net.datagrams.shared import Arrival, SharedPort
from socks6.net.transports.quic.absent import NO_VERSION, REASON, refuse
from socks6.net.transports.quic.packets import SMALLEST_INITIAL

SOURCE = ("127.0.0.1", 5000)
INITIAL = bytes.fromhex("c0 00000001 04 aabbccdd 02 1122 00 4400").ljust(SMALLEST_INITIAL, b"\0")


class RecordingPort(SharedPort):
    """Keeps what is sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[bytes, object]] = []

    @override
    def send(self, data: bytes, source: object, local: bytes = b"", control: object = ()) -> bool:
        self.sent.append((data, source))
        return True


def refused(*packets: bytes, quiet: bool = False) -> tuple[list[tuple[bytes, object]], list[tuple[str, str]]]:
    port = RecordingPort()
    reasons: list[tuple[str, str]] = []
    arrivals = [Arrival(packet, SOURCE, b"", len(packet)) for packet in packets]
    refuse(port, arrivals, lambda source, reason: reasons.append((source, reason)), quiet=quiet)
    return port.sent, reasons


def test_a_first_packet_is_answered_by_a_version_that_nobody_has() -> None:
    [(answer, source)], reasons = refused(INITIAL)
    assert source == SOURCE
    assert answer[0] & 0x80
    assert answer[1:5] == bytes(4)  # RFC 9000 §17.2.1
    assert answer[5:] == bytes.fromhex("02 1122 04 aabbccdd") + NO_VERSION[0].to_bytes(4, "big")
    assert reasons == [("127.0.0.1", REASON)]


def test_what_could_be_amplified_or_is_no_first_packet_is_not_answered() -> None:
    short = INITIAL[: SMALLEST_INITIAL - 1]
    established = b"\x40" + bytes(SMALLEST_INITIAL)
    negotiation = b"\xc0" + bytes(4) + INITIAL[5:]
    assert refused(short, established, negotiation) == ([], [])


def test_a_quiet_proxy_only_names_the_client() -> None:
    assert refused(INITIAL, quiet=True) == ([], [("127.0.0.1", REASON)])
