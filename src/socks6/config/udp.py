"""Reads how datagrams are relayed."""

import dataclasses
from typing import Final

from socks6.config import tables
from socks6.config.faults import Fault, blaming
from socks6.errors import ConfigurationError
from socks6.net.datagrams.filtering import Filtering
from socks6.proxy.settings import UdpSettings

FILTERINGS: Final = tuple(filtering.value for filtering in Filtering)


def read_udp_settings(table: tables.Udp, faults: list[Fault]) -> UdpSettings | None:
    """Return what [udp] says, but for `enabled`; None if that is nothing. What is wrong is told to `faults`."""
    said = {
        field.name: value
        for field in dataclasses.fields(UdpSettings)
        if field.name != "enabled" and (value := getattr(table, field.name)) is not None
    }
    filtering = said.pop("filtering", None)
    if filtering is not None:
        with blaming(("udp", "filtering"), faults):
            said["filtering"] = parse_filtering(filtering)
    return UdpSettings(**said) if said else None


def parse_filtering(text: str) -> Filtering:
    """Read the name of a filtering. Raises ConfigurationError."""
    if text not in FILTERINGS:
        raise ConfigurationError(f"{text!r} is no filtering: write {', '.join(FILTERINGS)}")
    return Filtering(text)
