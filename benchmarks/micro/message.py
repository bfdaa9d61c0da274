"""How long encoding and decoding take: `python -m benchmarks.micro.message [PART OF A TITLE]`.

Prints the fastest of several rounds, in nanoseconds of CPU time per call, and where it was measured.
"""

import os
import platform
import subprocess
import sys
import time
import timeit
from collections.abc import Callable
from pathlib import Path
from typing import Final

from socks6.message.codes import Command
from socks6.message.datagrams import (
    Datagram,
    build_datagram,
    datagram_prefix,
    decode_destination,
    decode_message,
    parse_header,
)
from socks6.message.dialect import DRAFT_12, DatagramLayout
from socks6.message.options import (
    AuthenticationData,
    SessionId,
    Tfo,
    Tos,
    find,
)
from socks6.message.replies import AuthenticationReply, OperationReply
from socks6.message.requests import Request
from socks6.message.userpass import UsernamePassword, UsernamePasswordReply

ROUND_SECONDS: Final = 0.02
REPEAT: Final = 9
FOLDER: Final = Path(__file__).parent
DRAFT: Final = DatagramLayout.DRAFT

CREDENTIALS: Final = UsernamePassword(username=b"alice", password=b"123456").encode()
PLAIN_REQUEST: Final = Request(command=Command.CONNECT, host="example.com", port=443)
REQUEST: Final = Request(
    command=Command.CONNECT,
    host="example.com",
    port=443,
    options=(Tos(leg=3, tos=16), Tfo(payload_size=1460), AuthenticationData(method=2, data=CREDENTIALS)),
)
FULL_REQUEST: Final = bytes.fromhex("06 01 5000 01bb 00 01 7f000001")
UNKNOWN_OPTIONS: Final = FULL_REQUEST + 256 * (bytes.fromhex("ffff 0050") + bytes(76))
DUPLICATE_OPTIONS: Final = FULL_REQUEST + 256 * (bytes.fromhex("0004 0050 02") + bytes(75))
AUTHENTICATION_REPLY: Final = AuthenticationReply(
    type=0, options=(AuthenticationData(method=2, data=UsernamePasswordReply(status=0).encode()),)
)
OPERATION_REPLY: Final = OperationReply(code=0, host="192.0.2.1", port=54321)
STACK_REPLY: Final = OperationReply(code=0, host="192.0.2.1", port=54321, options=REQUEST.options[:2])
PAYLOAD: Final = bytes(1200)
DATAGRAM: Final = Datagram(association_id=2**63, host="192.0.2.1", port=53, data=PAYLOAD)
MESSAGE: Final = DATAGRAM.encode()
PREFIX: Final = datagram_prefix(2**63, "192.0.2.1", 53, DRAFT_12)


def decoding_datagrams(host: str) -> Callable[[], object]:
    """Return a call that takes a datagram's header apart."""
    message = Datagram(association_id=2**63, host=host, port=53, data=PAYLOAD).encode()
    return lambda: parse_header(message, DRAFT_12, DRAFT)


def decoding_key(host: str) -> Callable[[], object]:
    """Return a call that decodes the destination of a key not seen before."""
    message = Datagram(association_id=2**63, host=host, port=53, data=PAYLOAD).encode()
    header = parse_header(message, DRAFT_12, DRAFT)
    assert header is not None
    return lambda: decode_destination(header[1], DRAFT_12, DRAFT)


def decoding(message: Request | AuthenticationReply | OperationReply) -> Callable[[], object]:
    """Return a call that decodes a message."""
    data, decode = message.encode(), type(message).decode
    return lambda: decode(data)


def sizing(message: Request | AuthenticationReply | OperationReply) -> Callable[[], object]:
    """Return a call that finds out how long a message is."""
    data, size = message.encode(), type(message).size
    return lambda: size(data)


CASES: Final[dict[str, Callable[[], object]]] = {
    "size: request, name": sizing(REQUEST),
    "decode: request, name": decoding(PLAIN_REQUEST),
    "decode: request, name, three options": decoding(REQUEST),
    "decode: authentication reply": decoding(AUTHENTICATION_REPLY),
    "decode: operation reply": decoding(OPERATION_REPLY),
    "decode: operation reply, two options": decoding(STACK_REPLY),
    "decode: username and password": lambda: UsernamePassword.decode(CREDENTIALS),
    "encode: request, name": PLAIN_REQUEST.encode,
    "encode: request, name, three options": REQUEST.encode,
    "encode: authentication reply": AUTHENTICATION_REPLY.encode,
    "encode: operation reply": OPERATION_REPLY.encode,
    "encode: operation reply, two options": STACK_REPLY.encode,
    "build and encode: operation reply": lambda: OperationReply(code=0, host="192.0.2.1", port=1).encode(),
    "datagram fast path: parse, IPv4": decoding_datagrams("192.0.2.1"),
    "datagram fast path: parse, IPv6": decoding_datagrams("2001:db8::1"),
    "datagram fast path: parse, name": decoding_datagrams("example.com"),
    "datagram fast path: build": lambda: build_datagram(PREFIX, PAYLOAD),
    "datagram, cache missed: key to host": decoding_key("192.0.2.1"),
    "datagram, cache missed: prefix": lambda: datagram_prefix(2**63, "192.0.2.1", 53, DRAFT_12),
    "datagram as a value: decode": lambda: decode_message(MESSAGE),
    "datagram as a value: encode": DATAGRAM.encode,
    "find: none among three options": lambda: find(REQUEST.options, SessionId),
    "hostile: 20 KB of unknown options": lambda: Request.decode(UNKNOWN_OPTIONS),
    "hostile: 20 KB of duplicate options": lambda: Request.decode(DUPLICATE_OPTIONS),
}


def place() -> str:
    """Return where this runs: processor, kernel, Python and commit."""
    with open("/proc/cpuinfo") as lines:
        model = next(
            (line.partition(": ")[2].strip() for line in lines if line.startswith("model name")), "?"
        )
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False, cwd=FOLDER
    ).stdout.strip()
    return (
        f"{model}, {os.cpu_count()} cores, {platform.release()}, Python {platform.python_version()}, {commit}"
    )


def measure(case: Callable[[], object]) -> float:
    """Return the nanoseconds of CPU time of one call, in the fastest of several rounds."""
    timer = timeit.Timer(case, timer=time.process_time)
    rounds = max(1, int(ROUND_SECONDS / timer.timeit(1)))
    return min(timer.repeat(number=rounds, repeat=REPEAT)) / rounds * 1e9


def main(wanted: str) -> None:
    """Print the figures of all cases whose title has `wanted` in it."""
    print(place())
    for title, case in CASES.items():
        if wanted in title:
            print(f"{title:38} {measure(case):10,.0f} ns")


if __name__ == "__main__":
    main(" ".join(sys.argv[1:]))
