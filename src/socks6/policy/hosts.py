"""What a client's host text means: a name, or an address in whatever spelling the C library would take."""

import re
from functools import lru_cache
from typing import Final, NamedTuple

from socks6.policy.addresses import examine

# Names that mean the same address on every machine, or in every cloud.
FIXED_NAMES: Final = {
    "localhost": "127.0.0.1",
    "localhost.localdomain": "127.0.0.1",
    "ip6-localhost": "::1",
    "ip6-loopback": "::1",
    "metadata.google.internal": "169.254.169.254",
}
LOOPBACK_DOMAIN: Final = ".localhost"  # RFC 6761, section 6.3
CACHED_HOSTS: Final = 4096
MAX_NAME_LENGTH: Final = 253  # RFC 1035, section 3.1, as text

_NAME: Final = re.compile(r"[0-9a-z_-]+(?:\.[0-9a-z_-]+)*")
_NUMBER: Final = re.compile(r"0x[0-9a-f]*|[0-9]+")


class ParsedHost(NamedTuple):
    """A host that can exist: its name in canonical form, and its address if there is no need to resolve."""

    name: str
    address: str


def canonical_name(name: str) -> str:
    """Return a name in the form in which names are compared: lower case, without the root's dot."""
    return name.lower().removesuffix(".")


@lru_cache(maxsize=CACHED_HOSTS)
def parse_host(text: str) -> ParsedHost | None:
    """Return what a host text means; None if it can be neither name nor address.

    Whatever ends in a number is an address, or nothing: getaddrinfo reads "127.1", "0x7f.1", "0177.0.0.1"
    and "2130706433" as 127.0.0.1, and no top-level domain is a number.
    """
    name = canonical_name(text)
    if is_name(name):
        fixed = "localhost" if name.endswith(LOOPBACK_DOMAIN) else name
        return ParsedHost(name, FIXED_NAMES.get(fixed, ""))
    if len(name) > MAX_NAME_LENGTH:
        return None
    if examine(name) is not None:
        return ParsedHost(name, name)
    address = _read_ipv4(name)
    return None if address is None else ParsedHost(name, address)


def is_name(name: str) -> bool:
    """Return whether a text in canonical form is a name, and no address in disguise."""
    if len(name) > MAX_NAME_LENGTH or not _NAME.fullmatch(name):
        return False
    return not _NUMBER.fullmatch(name.rpartition(".")[2])


def _read_ipv4(name: str) -> str | None:
    """Read an IPv4 address as inet_aton does: one to four numbers, the last one filling what is left."""
    numbers: list[int] = []
    for label in name.split("."):
        number = _read_number(label)
        if number is None:
            return None
        numbers.append(number)
    *head, tail = numbers
    room = 4 - len(head)
    if room < 1 or tail >= 256**room or any(number > 255 for number in head):
        return None
    return ".".join(map(str, bytes(head) + tail.to_bytes(room, "big")))


def _read_number(label: str) -> int | None:
    """Read a decimal, octal (0...) or hexadecimal (0x...) number."""
    if not _NUMBER.fullmatch(label):
        return None
    try:
        if label.startswith("0x"):
            return int(label[2:] or "0", 16)
        return int(label, 8 if label.startswith("0") else 10)
    except ValueError:  # an 8 or 9 in an octal number, or thousands of digits
        return None
