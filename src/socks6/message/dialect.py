"""Dialects: the few points on which the draft and its older implementations differ on the wire."""

from enum import Enum
from typing import Final

from socks6.dataclass import dataclass


class DatagramLayout(Enum):
    """Where a datagram header keeps its address type and port."""

    DRAFT = "draft"  # address type, 00, port (2 bytes)
    CONSISTENT = "consistent"  # port (2 bytes), 00, address type: as in the messages over TCP (the older Go implementation's)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """How one lineage of implementations writes SOCKS 6, and what a client must not expect of its servers."""

    version: int
    datagram_layout: DatagramLayout
    aligned_options: bool  # refuse option lengths that are no multiple of 4
    domain_length_counts_itself: bool  # read a domain length L with L % 4 == 0 as L - 1
    advertises_offers: bool = False  # name a method in an Advertisement although its data is sent along
    has_port_parity: bool = True  # send Port Parity options, on which a server may break otherwise
    backlog_needs_session: bool = True  # § Listen Backlog options
    accept_binds: int | None = None  # that a server takes at a time for one listener; None for any number


DRAFT_12: Final = Dialect(
    version=6,
    datagram_layout=DatagramLayout.DRAFT,
    aligned_options=True,
    domain_length_counts_itself=False,
)
GO_212: Final = Dialect(
    version=0xD4,
    datagram_layout=DatagramLayout.CONSISTENT,
    aligned_options=False,
    domain_length_counts_itself=True,
    advertises_offers=True,
    has_port_parity=False,
    backlog_needs_session=False,
    accept_binds=1,
)
