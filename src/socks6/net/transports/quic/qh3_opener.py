"""Opens a connection's packets a second time, beside qh3's native core, which exposes no frames.

TLS's secrets pass through qh3's Python part (`install`), and qh3 has the ciphers; header protection is cryptography's
(RFC 9001 §5.4). Client's packets can also be closed again for another destination id (`reseal`).
"""

from collections.abc import Callable
from dataclasses import field
from typing import Final, TypeAlias

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from qh3 import tls
from qh3._hazmat import AeadAes128Gcm, AeadAes256Gcm, AeadChaCha20Poly1305, CryptoError, decode_packet_number
from qh3.quic.crypto import derive_key_iv_hp

from socks6.dataclass import dataclass

VERSION: Final = 1
SALT: Final = bytes.fromhex("38762cf7f55934b34d179ae6a4c80cadccbb7f0a")  # RFC 9001 §5.2
FIXED: Final = 0x40  # of the first byte of a short header
PHASE: Final = 0x04
NUMBER_SIZE: Final = 4  # bytes of the packet numbers of what is sealed here
SAMPLE: Final = 4  # bytes after the beginning of the packet number where the sample is, however long that is
SAMPLE_SIZE: Final = 16
TAG_SIZE: Final = 16  # bytes that sealing adds
MASKS: Final = {True: 0x0F, False: 0x1F}  # what is protected of the first byte of long and of short headers

Aead: TypeAlias = AeadAes128Gcm | AeadAes256Gcm | AeadChaCha20Poly1305
AEADS: Final[dict[tls.CipherSuite, Callable[[bytes, bytes], Aead]]] = {
    tls.CipherSuite.AES_128_GCM_SHA256: AeadAes128Gcm,
    tls.CipherSuite.AES_256_GCM_SHA384: AeadAes256Gcm,
    tls.CipherSuite.CHACHA20_POLY1305_SHA256: AeadChaCha20Poly1305,
}


@dataclass(slots=True, kw_only=True)
class _Keys:
    """One direction of one kind of packets."""

    suite: tls.CipherSuite
    secret: bytes = field(repr=False)
    aead: Aead = field(repr=False)
    mask: Callable[[bytes], bytes] = field(repr=False)
    largest: int = -1

    def next(self) -> "_Keys":
        """Return the keys of the next phase (RFC 9001 §6.1)."""
        algorithm = tls.cipher_suite_hash(self.suite)
        secret = tls.hkdf_expand_label(algorithm, self.secret, b"quic ku", b"", algorithm // 8)
        key, iv, _ = derive_key_iv_hp(cipher_suite=self.suite, secret=secret, version=VERSION)
        return _Keys(suite=self.suite, secret=secret, aead=AEADS[self.suite](key, iv), mask=self.mask)

    def open(self, number: int, payload: bytes, head: bytes) -> bytes | None:
        """Return the frames of a packet; None if it was sealed with other keys."""
        try:
            return self.aead.decrypt(number, payload, head)
        except CryptoError:
            return None


def _keys(suite: tls.CipherSuite, secret: bytes) -> _Keys:
    key, iv, hp = derive_key_iv_hp(cipher_suite=suite, secret=secret, version=VERSION)
    return _Keys(suite=suite, secret=secret, aead=AEADS[suite](key, iv), mask=_mask(suite, hp))


def _mask(suite: tls.CipherSuite, key: bytes) -> Callable[[bytes], bytes]:
    if suite is tls.CipherSuite.CHACHA20_POLY1305_SHA256:
        return lambda sample: Cipher(algorithms.ChaCha20(key, sample), None).encryptor().update(bytes(5))
    return Cipher(algorithms.AES(key), modes.ECB()).encryptor().update  # noqa: S305 - RFC 9001 §5.4.3


class PacketOpener:
    """Opens what comes."""

    def __init__(self, cid_size: int) -> None:
        self._short = 1 + cid_size  # where the packet number of a short header is
        self._keys: dict[int, _Keys] = {}
        self._phase = 0
        self._other: _Keys | None = None  # of the phase before, or of the next one
        self._other_is_next = True
        self.passed = 0  # packets of short headers that came since one was opened, and were not
        self.arrived = 0  # packets of short headers, up to the last that was opened
        self.numbered = 0  # one more than the largest number of these

    def install(self, kind: int, suite: tls.CipherSuite, secret: bytes) -> None:
        """Take the secret of what comes in one kind of packets."""
        self._keys[kind] = _keys(suite, secret)

    def install_initial(self, destination: bytes, *, is_client: bool) -> None:
        """Make the keys of Initial packets, from what the client first called the server."""
        secret = initial_secret(destination, from_client=not is_client)
        self.install(tls.Epoch.INITIAL, tls.CipherSuite.AES_128_GCM_SHA256, secret)

    def discard(self, kind: int) -> None:
        """Open such packets no more."""
        self._keys.pop(kind, None)

    def open_short(self, packet: bytes) -> bytes | None:
        """Return the frames of a packet with a short header; None if it cannot be opened."""
        keys = self._keys.get(tls.Epoch.ONE_RTT)
        at = self._short
        if keys is None or len(packet) < at + SAMPLE + SAMPLE_SIZE:
            return None
        largest = keys.largest + self.passed
        first, number, start = _unprotect(keys, packet, at, largest, is_long=False)
        head = bytes((first,)) + packet[1:at] + number[0]
        phase = first & PHASE
        if phase != self._phase:
            return self._open_other(keys, packet, start, number[1], head)
        payload = keys.open(number[1], packet[start:], head)
        if payload is not None:
            self._opened(keys, number[1])
        return payload

    def open_long(self, kind: int, packet: bytes, at: int) -> bytes | None:
        """Return the frames of a packet with a long header; `at` is where its number is."""
        keys = self._keys.get(kind)
        if keys is None or len(packet) < at + SAMPLE + SAMPLE_SIZE:
            return None
        first, number, start = _unprotect(keys, packet, at, keys.largest, is_long=True)
        payload = keys.open(number[1], packet[start:], bytes((first,)) + packet[1:at] + number[0])
        if payload is not None:
            keys.largest = max(keys.largest, number[1])
        return payload

    def reseal(self, kind: int, packet: bytes, at: int, destination: bytes) -> bytes:
        """Return a packet with a long header, which can be opened, for another destination id."""
        keys = self._keys[kind]
        first, number, start = _unprotect(keys, packet, at, keys.largest, is_long=True)
        old = packet[5]
        rest = packet[6 + old : at]
        head = bytes((first,)) + packet[1:5] + bytes((len(destination),)) + destination + rest + number[0]
        payload = keys.aead.decrypt(number[1], packet[start:], bytes((first,)) + packet[1:at] + number[0])
        body = keys.aead.encrypt(number[1], payload, head)
        return _protect(keys, head + body, len(head) - len(number[0]), is_long=True)

    def reclose(self, packet: bytes, payload: bytes) -> bytes:
        """Return a packet with a short header, which was opened just now, with other frames."""
        keys = self._keys[tls.Epoch.ONE_RTT]
        at = self._short
        first, number, _ = _unprotect(keys, packet, at, keys.largest, is_long=False)
        head = bytes((first,)) + packet[1:at] + number[0]
        return _protect(keys, head + keys.aead.encrypt(number[1], payload, head), at, is_long=False)

    def seal_after(self, packet: bytes, payload: bytes) -> tuple[bytes, int] | None:
        """Return a packet with a short header and these frames that follows one of the same sender, and its number.

        None if that one cannot be opened.
        """
        if self.open_short(packet) is None:
            return None
        keys = self._keys[tls.Epoch.ONE_RTT]
        keys.largest += 1
        number = (keys.largest & (1 << 8 * NUMBER_SIZE) - 1).to_bytes(NUMBER_SIZE)
        head = bytes((FIXED | self._phase | NUMBER_SIZE - 1,)) + packet[1 : self._short] + number
        body = keys.aead.encrypt(keys.largest, payload, head)
        return _protect(keys, head + body, self._short, is_long=False), keys.largest

    def _open_other(self, keys: _Keys, packet: bytes, start: int, number: int, head: bytes) -> bytes | None:
        """Open a packet of the phase before, or of the next one, which begins with it."""
        other = self._other
        payload = None if other is None else other.open(number, packet[start:], head)
        if payload is None and (other is None or not self._other_is_next):
            other = self._other = keys.next()
            self._other_is_next = True
            payload = other.open(number, packet[start:], head)
        if payload is not None and other is not None and self._other_is_next:
            other.largest = keys.largest
            self._keys[tls.Epoch.ONE_RTT], self._other, self._other_is_next = other, keys, False
            self._phase ^= PHASE
            self._opened(other, number)
        return payload

    def _opened(self, keys: _Keys, number: int) -> None:
        keys.largest = max(keys.largest, number)
        self.arrived += self.passed + 1
        self.numbered = keys.largest + 1
        self.passed = 0


def initial_secret(destination: bytes, *, from_client: bool) -> bytes:
    """Return the secret of Initial packets of one direction."""
    algorithm = tls.cipher_suite_hash(tls.CipherSuite.AES_128_GCM_SHA256)
    common = tls.hkdf_extract(algorithm, SALT, destination)
    label = b"client in" if from_client else b"server in"
    return tls.hkdf_expand_label(algorithm, common, label, b"", algorithm // 8)


def _unprotect(
    keys: _Keys, packet: bytes, at: int, largest: int, *, is_long: bool
) -> tuple[int, tuple[bytes, int], int]:
    """Return the first byte, the packet number as it is on the wire and whole, and where the payload begins."""
    mask = keys.mask(packet[at + SAMPLE : at + SAMPLE + SAMPLE_SIZE])
    first = packet[0] ^ (mask[0] & MASKS[is_long])
    size = (first & 3) + 1
    short = int.from_bytes(packet[at : at + size]) ^ int.from_bytes(mask[1 : 1 + size])
    whole = decode_packet_number(short, size * 8, largest + 1)
    return first, (short.to_bytes(size), whole), at + size


def _protect(keys: _Keys, packet: bytes, at: int, *, is_long: bool) -> bytes:
    """Return a packet with its header protected."""
    mask = keys.mask(packet[at + SAMPLE : at + SAMPLE + SAMPLE_SIZE])
    size = (packet[0] & 3) + 1
    number = int.from_bytes(packet[at : at + size]) ^ int.from_bytes(mask[1 : 1 + size])
    first = packet[0] ^ (mask[0] & MASKS[is_long])
    return bytes((first,)) + packet[1:at] + number.to_bytes(size) + packet[at + size :]
