"""Packets are opened beside the native core, and closed again for another id."""

import os

import pytest
from aioquic.quic.crypto import CryptoPair
from aioquic.quic.packet import QuicProtocolVersion
from aioquic.tls import CipherSuite as Suite
from qh3 import tls

from socks6.net.transports.quic.qh3_opener import PacketOpener, initial_secret

CID = bytes(range(8))
SUITES = pytest.mark.parametrize(
    "suite", ["AES_128_GCM_SHA256", "AES_256_GCM_SHA384", "CHACHA20_POLY1305_SHA256"]
)
FRAMES = b"\x01" * 40


class Sender:
    """What sends packets with a short header, by the other library."""

    def __init__(self, suite: str) -> None:
        self.secret = os.urandom(48 if "384" in suite else 32)
        self.pair = CryptoPair()
        self.pair.send.setup(
            cipher_suite=Suite[suite], secret=self.secret, version=QuicProtocolVersion.VERSION_1
        )
        self.pair.recv.setup(
            cipher_suite=Suite[suite], secret=self.secret, version=QuicProtocolVersion.VERSION_1
        )
        self.opener = PacketOpener(len(CID))
        self.opener.install(tls.Epoch.ONE_RTT, tls.CipherSuite[suite], self.secret)

    def packet(self, at: int) -> bytes:
        head = bytes((0x41 | self.pair.key_phase << 2,)) + CID + (at & 0xFFFF).to_bytes(2)
        return bytes(self.pair.encrypt_packet(head, FRAMES, at))


def test_initial_secrets_are_those_of_the_rfc() -> None:
    """RFC 9001, appendix A.1."""
    destination = bytes.fromhex("8394c8f03e515708")
    secret = initial_secret(destination, from_client=True)
    assert secret.hex() == "c00cf151ca5be075ed0ebfb5c80323c42d6b7db67881289af4008f1f6c357aea"
    secret = initial_secret(destination, from_client=False)
    assert secret.hex() == "3c199828fd139efd216c155ad844cc81fb82fa8d7446fa7d78be803acdda951b"


@SUITES
def test_packets_are_opened_through_changes_of_keys_and_late_ones_too(suite: str) -> None:
    sender = Sender(suite)
    late = b""
    for at in range(0, 60_000, 1_000):
        assert sender.opener.open_short(sender.packet(at)) == FRAMES
        if at % 20_000 == 0:
            late = sender.packet(at + 1)
            sender.pair._update_key("test")
        elif at % 20_000 == 2_000:
            assert sender.opener.open_short(late) == FRAMES


@SUITES
def test_a_packet_is_closed_again_with_other_frames(suite: str) -> None:
    sender = Sender(suite)
    assert sender.opener.open_short(sender.packet(300)) == FRAMES
    other = b"\x01" + bytes(len(FRAMES) - 1)
    assert sender.opener.open_short(sender.opener.reclose(sender.packet(300), other)) == other


@SUITES
def test_a_packet_is_sealed_after_another_through_changes_of_keys(suite: str) -> None:
    sender = Sender(suite)
    for at in (0, 1_000, 2_000):
        for number in (at + 1, at + 2):  # the second time after the same packet
            sealed = sender.opener.seal_after(sender.packet(at), FRAMES)
            assert sealed is not None
            assert sealed[1] == number
            header, frames, whole = sender.pair.decrypt_packet(sealed[0], 1 + len(CID), number)
            assert (header[1:9], frames, whole) == (CID, FRAMES, number)
        sender.pair._update_key("test")
    assert sender.opener.seal_after(bytes(60), FRAMES) is None


@SUITES
def test_what_is_no_packet_is_not_opened(suite: str) -> None:
    sender = Sender(suite)
    packet = sender.packet(0)
    assert sender.opener.open_short(packet[:-1] + bytes((packet[-1] ^ 1,))) is None
    assert sender.opener.open_short(packet[:28]) is None
    assert sender.opener.open_short(bytes((packet[0] ^ 4,)) + packet[1:]) is None
    assert PacketOpener(8).open_short(packet) is None
    assert sender.opener.open_short(packet) == FRAMES


def test_a_packet_number_is_found_after_packets_that_were_not_opened() -> None:
    sender = Sender("AES_128_GCM_SHA256")
    assert sender.opener.open_short(sender.packet(0)) == FRAMES
    sender.opener.passed = 70_000
    assert sender.opener.open_short(sender.packet(70_001)) == FRAMES


@pytest.mark.parametrize("size", [8, 14, 20])
def test_an_initial_packet_is_closed_again_for_another_id(size: int) -> None:
    first = os.urandom(size)
    pair = CryptoPair()
    pair.setup_initial(first, is_client=True, version=QuicProtocolVersion.VERSION_1)
    head = (
        b"\xc1\0\0\0\x01" + bytes((size,)) + first + b"\0\x03tok" + (0x4000 | 40 + 18).to_bytes(2) + b"\0\x07"
    )
    packet = bytes(pair.encrypt_packet(head, FRAMES, 7))
    at = len(head) - 2
    opener = PacketOpener(8)
    opener.install_initial(first, is_client=False)
    assert opener.open_long(tls.Epoch.INITIAL, packet, at) == FRAMES
    other = opener.reseal(tls.Epoch.INITIAL, packet, at, CID)
    assert other[5:14] == b"\x08" + CID
    assert opener.open_long(tls.Epoch.INITIAL, other, at - size + 8) == FRAMES
    opener.discard(tls.Epoch.INITIAL)
    assert opener.open_long(tls.Epoch.INITIAL, packet, at) is None
