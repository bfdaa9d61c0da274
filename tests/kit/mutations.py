"""Valid messages of every protocol, and ways to spoil them: what the fuzz runs throw."""

import base64
import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from socks6.message.datagrams import (
    AssociationConfirmation,
    AssociationInitialization,
    AssociationMessage,
    Datagram,
    DatagramError,
)
from socks6.message.dialect import DRAFT_12, GO_212, DatagramLayout, Dialect
from socks6.message.options import (
    AuthenticationData,
    AuthenticationMethodAdvertisement,
    IdempotenceExpenditure,
    Option,
    SessionId,
    SessionRequest,
    UnknownOption,
)
from socks6.message.requests import Request
from socks6.message.userpass import UsernamePassword

VECTORS: Final = Path(__file__).parents[1] / "vectors" / "wire.json"
AUTHENTICATED: Final = bytes.fromhex("06 00 0000")
SUCCEEDED: Final = bytes.fromhex("06 00 0000 04d2 00 01 7f000001")
USER: Final = ("alice", "123456")
HOSTS: Final = ("127.0.0.1", "::1", "localhost", "example.com", "a", "nobody.invalid", "slow.example")
BYTES: Final = (0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x0A, 0x0D, 0x20, 0x7F, 0x80, 0xD4, 0xFE, 0xFF)
NUMBERS: Final = (0, 1, 3, 4, 5, 8, 255, 256, 16384, 16385, 20476, 20480, 20484, 32768, 65532, 65535)
TOKENS: Final = (
    b"\r\n", b"\n", b"\r", b" ", b"\t", b":", b"\x00", b"\r\n\r\n", b"HTTP/1.1", b"HTTP/1.0", b"0\r\n\r\n",
    b"Content-Length: 5\r\n", b"Content-Length: -1\r\n", b"Content-Length: 99999999999999999999\r\n",
    b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: gzip, chunked\r\n", b"Connection: close\r\n",
    b"Connection: upgrade\r\nUpgrade: websocket\r\n", b"Expect: 100-continue\r\n", b"Host: x\r\n",
    b"Max-Forwards: 0\r\n", b"TE: trailers\r\n", b"Connection: content-length\r\n", b"Trailer: x\r\n", b"ffffffffffffffffff\r\n", b"Proxy-Authorization: Basic !\r\n", b"A: " + b"a" * 40000,
)  # fmt: skip

Spoil = Callable[[random.Random, bytearray], None]


def vectors(*messages: str) -> list[bytes]:
    """Return the bytes of the shared vectors of these messages."""
    entries = json.loads(VECTORS.read_text())
    return [bytes.fromhex(entry["hex"]) for entry in entries if entry["message"] in messages]


class Seeds:
    """Valid messages, made anew for each draw."""

    def __init__(self) -> None:
        self._requests = vectors("request")
        self._options = vectors("option")
        self._replies = [vectors("auth_reply"), vectors("operation_reply")]
        self._makers: dict[str, Callable[[random.Random], bytes]] = {
            "socks6": self._socks6,
            "socks5": self._socks5,
            "http": self._http,
            "mixed": self._mixed,
            "replies": self._socks6_replies,
            "responses": _responses,
        }

    def draw(self, rng: random.Random, kind: str) -> bytes:
        """Return what a well-behaved peer might say: an inbound's name, "replies" or "responses" (of HTTP)."""
        return self._makers[kind](rng)

    def _socks6(self, rng: random.Random) -> bytes:
        if rng.random() < 0.2:
            return rng.choice(self._requests) + rng.choice((b"", rng.randbytes(20)))
        dialect = rng.choice((DRAFT_12, DRAFT_12, GO_212))
        data = rng.choice((b"", b"hello", rng.randbytes(rng.choice((20, 1400, 16384, 40000)))))
        options = _options(rng, len(data))
        request = Request(
            command=rng.choice((0, 1, 1, 1, 1, 1, 2, 3, 9)),
            host=rng.choice(HOSTS),
            port=rng.choice((0, 53, 80, 443, rng.randrange(65536))),
            options=tuple(options),
        )
        encoded = request.encode(dialect)
        if rng.random() < 0.3:
            number = rng.choice((1, 2, 5, 300, 5000))
            encoded = _with_raw_options(rng, encoded, rng.choices(self._options, k=number), dialect)
        return encoded + data

    def _socks5(self, rng: random.Random) -> bytes:
        if rng.random() < 0.3:
            return _socks4(rng)
        host, port = rng.choice(HOSTS), rng.choice((80, rng.randrange(65536))).to_bytes(2, "big")
        greeting = rng.choice((b"\x05\x01\x00", b"\x05\x02\x00\x02", b"\x05\x01\x02", b"\x05\x00"))
        login = UsernamePassword(username=USER[0].encode(), password=_password(rng).encode()).encode()
        address = rng.choice(
            (
                b"\x01\x7f\x00\x00\x01",
                b"\x04" + bytes(15) + b"\x01",
                b"\x03" + bytes((len(host),)) + host.encode(),
            )
        )
        request = b"\x05" + bytes((rng.choice((1, 1, 1, 2, 3, 9)),)) + b"\x00" + address + port
        return greeting + (login if 2 in greeting[2:] else b"") + request + rng.choice((b"", b"first data"))

    def _http(self, rng: random.Random) -> bytes:
        return b"".join(_http_request(rng) for _ in range(rng.choice((1, 1, 1, 2, 5))))

    def _mixed(self, rng: random.Random) -> bytes:
        return self._makers[rng.choice(("socks6", "socks5", "http"))](rng)

    def _socks6_replies(self, rng: random.Random) -> bytes:
        if rng.random() < 0.25:
            return AUTHENTICATED + SUCCEEDED + _association_messages(rng)
        if rng.random() < 0.5:
            return AUTHENTICATED + SUCCEEDED + rng.choice((b"", b"data", rng.randbytes(20000)))
        first, then = (rng.choice(replies) for replies in self._replies)
        return first + rng.choice((b"", then, then + b"data", then + then, first + then))


def _association_messages(rng: random.Random) -> bytes:
    """Return what the proxy of an association might say on its stream."""
    layout = rng.choice(tuple(DatagramLayout))
    said: list[AssociationMessage] = [
        AssociationInitialization(association_id=1),
        AssociationConfirmation(association_id=1),
    ]
    for _ in range(rng.randrange(6)):
        data = rng.randbytes(rng.choice((0, 20, 1400, 65_000)))
        said += (
            Datagram(association_id=1, host=rng.choice(HOSTS), port=rng.randrange(65536), data=data),
            DatagramError(association_id=1, host="::1", port=53, code=rng.randrange(6), reporter="192.0.2.1"),
        )
    return b"".join(message.encode(layout=layout) for message in said)


def _options(rng: random.Random, data_length: int) -> list[Option]:
    """Return options that a client might send, some of them sensible."""
    login = UsernamePassword(username=USER[0].encode(), password=_password(rng).encode())
    announced = min(rng.choice((0, data_length, rng.randrange(65536))), 16384)
    some: list[Option] = [
        AuthenticationMethodAdvertisement(
            methods=tuple(rng.sample(range(1, 255), k=rng.randrange(1, 8))), initial_data_length=announced
        ),
        AuthenticationData(method=2, data=login.encode()),
        SessionRequest(),
        SessionId(id=rng.randbytes(rng.choice((4, 16)))),
        IdempotenceExpenditure(token=rng.getrandbits(32)),
        UnknownOption(kind=rng.randrange(16, 65536), body=rng.randbytes(rng.choice((0, 4, 400)))),
    ]
    chosen = rng.sample(some, k=rng.randrange(4))
    return chosen if some[1] in chosen or rng.random() < 0.5 else [*chosen, some[1]]


def _password(rng: random.Random) -> str:
    return rng.choice((USER[1], USER[1], USER[1], "wrong"))


def _with_raw_options(
    rng: random.Random, encoded: bytes, options: Sequence[bytes], dialect: Dialect
) -> bytes:
    """Append options to an encoded request as they are, wherever they belong."""
    length = min(int.from_bytes(encoded[2:4], "big") + sum(map(len, options)), 65532)
    if dialect is GO_212 and rng.random() < 0.5:
        length += rng.randrange(4)
    return encoded[:2] + length.to_bytes(2, "big") + encoded[4:] + b"".join(options)


def _socks4(rng: random.Random) -> bytes:
    head = b"\x04" + bytes((rng.choice((1, 1, 2)),)) + rng.randrange(65536).to_bytes(2, "big")
    tail = rng.choice(
        (b"\x7f\x00\x00\x01user\x00", b"\x00\x00\x00\x01user\x00example.com\x00", b"\x7f\x00\x00\x01\x00")
    )
    return head + tail + rng.choice((b"", b"first data"))


def _http_request(rng: random.Random) -> bytes:
    host, port = rng.choice(HOSTS), rng.choice((80, rng.randrange(65536)))
    place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    login = base64.b64encode(f"{USER[0]}:{_password(rng)}".encode()).decode()
    fields = rng.choice(("", f"Proxy-Authorization: Basic {login}\r\n"))
    fields += rng.choice(
        ("", "Connection: close\r\n", "Upgrade: x\r\nConnection: upgrade\r\n", "Via: 1.1 x\r\n")
    )
    if rng.random() < 0.4:
        return f"CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n{fields}\r\nfirst data".encode()
    method = rng.choice(("GET", "GET", "HEAD", "POST", "PUT", "OPTIONS", "TRACE", "DELETE"))
    body = rng.choice(("", "hello", "x" * 70000)) if method in {"POST", "PUT"} else ""
    framed = f"Content-Length: {len(body)}\r\n\r\n{body}" if body else "\r\n"
    if body and rng.random() < 0.5:
        framed = f"Transfer-Encoding: chunked\r\n\r\n{len(body):x}\r\n{body}\r\n0\r\n\r\n"
    version = rng.choice(("1.1", "1.1", "1.1", "1.0"))
    return f"{method} http://{place}/a?b HTTP/{version}\r\nHost: {place}\r\n{fields}{framed}".encode()


def _responses(rng: random.Random) -> bytes:
    status = rng.choice(
        ("200 OK", "204 No Content", "304 Not Modified", "404 Not Found", "101 Switching", "100 C")
    )
    interim = rng.choice(("", "", "HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 103 Early\r\nLink: x\r\n\r\n"))
    body = rng.choice(("", "hello", "y" * 70000))
    framed = rng.choice(
        (
            f"Content-Length: {len(body)}\r\n\r\n{body}",
            f"Transfer-Encoding: chunked\r\n\r\n{len(body):x}\r\n{body}\r\n0\r\nTrailer: x\r\n\r\n"
            if body
            else "\r\n",
            f"Connection: close\r\n\r\n{body}",
        )
    )
    return f"{interim}HTTP/1.1 {status}\r\nServer: fuzz\r\n{framed}".encode()


def mutated(rng: random.Random, data: bytes) -> bytes:
    """Return the bytes spoiled here and there; one time in four as they are."""
    spoiled = bytearray(data)
    for _ in range(rng.choice((0, 0, 1, 1, 1, 2, 4, 8))):
        rng.choice(SPOILS)(rng, spoiled)
    return bytes(spoiled)


def chunks(rng: random.Random, data: bytes) -> list[bytes]:
    """Return the bytes cut as they might arrive: mostly whole, sometimes in pieces, sometimes byte by byte."""
    way = rng.random()
    if way < 0.5 or len(data) < 2:
        return [data]
    if way < 0.6 and len(data) < 200:
        return [data[at : at + 1] for at in range(len(data))]
    cuts = sorted(rng.randrange(1, len(data)) for _ in range(rng.choice((1, 1, 2, 5))))
    return [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]


def _flip(rng: random.Random, data: bytearray) -> None:
    if data:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _put_byte(rng: random.Random, data: bytearray) -> None:
    if data:
        data[rng.randrange(len(data))] = rng.choice(BYTES)


def _put_number(rng: random.Random, data: bytearray) -> None:
    at = rng.randrange(len(data) + 1)
    data[at : at + 2] = rng.choice(NUMBERS).to_bytes(2, "big")


def _delete(rng: random.Random, data: bytearray) -> None:
    at = rng.randrange(len(data) + 1)
    del data[at : at + rng.choice((1, 1, 2, 4, 20))]


def _repeat(rng: random.Random, data: bytearray) -> None:
    at = rng.randrange(len(data) + 1)
    data[at:at] = data[at : at + rng.choice((1, 4, 8, 100))] * rng.choice((1, 2, 50))


def _insert(rng: random.Random, data: bytearray) -> None:
    at = rng.randrange(len(data) + 1)
    data[at:at] = rng.randbytes(rng.choice((1, 2, 4, 100)))


def _insert_token(rng: random.Random, data: bytearray) -> None:
    """Put in a piece of HTTP, mostly where a line begins."""
    at = rng.randrange(len(data) + 1)
    if rng.random() < 0.7:
        at = data.find(b"\n", rng.randrange(min(len(data), 200) + 1)) + 1 or at
    data[at:at] = rng.choice(TOKENS)


def _cut(rng: random.Random, data: bytearray) -> None:
    del data[rng.randrange(len(data) + 1) :]


def _early_byte(rng: random.Random, data: bytearray) -> None:
    """Spoil the beginning, where versions, commands and lengths are."""
    if data:
        data[rng.randrange(min(len(data), 12))] = rng.choice(BYTES)


SPOILS: Final[tuple[Spoil, ...]] = (
    _flip, _put_byte, _put_number, _delete, _repeat, _insert, _insert_token, _cut, _early_byte, _early_byte,
)  # fmt: skip
