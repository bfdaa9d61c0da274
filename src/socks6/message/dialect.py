"""Dialects: the few points on which the draft and its older implementations differ on the wire."""

from dataclasses import dataclass
from enum import Enum
from typing import Final


class DatagramLayout(Enum):
    """Where a datagram header keeps its address type and port."""

    DRAFT = "draft"  # address type, 00, port (2 bytes)
    CONSISTENT = "consistent"  # port (2 bytes), 00, address type: as in the messages over TCP (the seed's)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """How one lineage of implementations writes SOCKS 6."""

    version: int
    datagram_layout: DatagramLayout
    aligned_options: bool  # refuse option lengths that are no multiple of 4
    domain_length_counts_itself: bool  # read a domain length L with L % 4 == 0 as L - 1


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
)
