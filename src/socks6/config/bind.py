"""Reads how places are bound for clients."""

import dataclasses
from collections.abc import Iterable

from socks6.config import tables
from socks6.config.faults import Fault, blaming
from socks6.errors import ConfigurationError
from socks6.message.address import is_unspecified, normalize_host
from socks6.net.bind import unmapped
from socks6.policy.matchers import PortMatcher
from socks6.proxy.settings import BindSettings


def read_advertised(table: tables.Bind, faults: list[Fault]) -> tuple[str, ...] | None:
    """Return the hosts that remotes are told; those that are none are told to `faults`."""
    if table.advertise is None:
        return None
    hosts: list[str] = []
    for number, text in enumerate(tables.texts(table.advertise)):
        with blaming(("bind", "advertise", number), faults):
            hosts.extend(parse_advertised((text,)))
    return tuple(hosts)


def parse_advertised(texts: Iterable[str]) -> tuple[str, ...]:
    """Return hosts by which remotes reach this machine. Raises ConfigurationError."""
    hosts = []
    for text in texts:
        try:
            host = unmapped(normalize_host(text))
        except ValueError as error:
            raise ConfigurationError(f"{text!r} is no host: {error}") from error
        if is_unspecified(host):
            raise ConfigurationError(f"{text!r} leads nowhere")
        hosts.append(host)
    return tuple(hosts)


def read_bind_settings(table: tables.Bind) -> BindSettings | None:
    """Return what [bind] says besides ports and what is advertised; None if that is nothing."""
    said = {
        field.name: value
        for field in dataclasses.fields(BindSettings)
        if field.name not in {"advertise", "ports"} and (value := getattr(table, field.name)) is not None
    }
    return BindSettings(**said) if said else None


def read_bind_ports(table: tables.Bind, faults: list[Fault]) -> range | None:
    """Return the ports that clients get, those that are none being told to `faults`."""
    with blaming(("bind", "ports"), faults):
        if table.ports is not None:
            return parse_bind_ports(str(table.ports))
    return None


def parse_bind_ports(text: str) -> range:
    """Read "20000-20999". Raises ConfigurationError."""
    first, last = PortMatcher.parse((text,)).ranges[0]
    if not first:
        raise ConfigurationError("port 0 is none")
    return range(first, last + 1)
