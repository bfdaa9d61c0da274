"""SOCKS version 6: client, server and converter (draft-olteanu-intarea-socks-6-12).

`Client` reaches hosts through a proxy, `Server` is one, `ServerWorker` serves clients over any byte stream.
The wire format is `socks6.message`, the conversations without input or output are `socks6.protocol`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from socks6.client.association import Association
    from socks6.client.bind import BindListener
    from socks6.client.bind_server import BindServer
    from socks6.client.client import Client
    from socks6.client.datagram_transport import ProxiedDatagramTransport
    from socks6.client.options import StackOptions
    from socks6.client.outbound import Socks6Outbound
    from socks6.client.stream import ProxiedStream
    from socks6.errors import (
        AddressTypeNotSupported,
        AuthenticationFailed,
        CertificateRefused,
        CommandNotSupported,
        ConfigurationError,
        ConnectionRefused,
        ConnectionTimedOut,
        DatagramFailed,
        DatagramTooLarge,
        DecodeError,
        GeneralFailure,
        HostUnreachable,
        LocalProtocolError,
        NetworkUnreachable,
        NotAllowed,
        OperationFailed,
        ProxyTimedOut,
        ProxyUnreachable,
        RemoteProtocolError,
        Socks6Error,
        TlsFailed,
        TokenRejected,
        TtlExpired,
        VersionMismatch,
    )
    from socks6.message.codes import Leg, Parity
    from socks6.message.dialect import DRAFT_12, GO_212, DatagramLayout, Dialect
    from socks6.net.direct import DirectOutbound
    from socks6.net.encryption.contexts import TlsParameters
    from socks6.net.stackopts.adapter import IpSocketOption, SocketOption
    from socks6.net.stream import ByteStream, ConnectResult, Endpoint, Judge, Outbound, Protection
    from socks6.net.url import ProxyUrl
    from socks6.policy.identity import Identity
    from socks6.policy.rules import Policy, Rule
    from socks6.policy.stack import StackRule
    from socks6.proxy.authentication.base import Authenticator
    from socks6.proxy.authentication.none import NoAuthentication
    from socks6.proxy.authentication.table import UserTable
    from socks6.proxy.service import Server
    from socks6.proxy.sessions import MemorySessionStore, SessionSettings, SessionStore
    from socks6.proxy.settings import Settings
    from socks6.proxy.worker import ServerWorker
    from socks6.relay.streams import RelaySettings
    from socks6.telemetry import ConnectionSummary, Ending, NullObserver, Observer

__all__ = [
    "DRAFT_12",
    "GO_212",
    "AddressTypeNotSupported",
    "Association",
    "AuthenticationFailed",
    "Authenticator",
    "BindListener",
    "BindServer",
    "ByteStream",
    "CertificateRefused",
    "Client",
    "CommandNotSupported",
    "ConfigurationError",
    "ConnectResult",
    "ConnectionRefused",
    "ConnectionSummary",
    "ConnectionTimedOut",
    "DatagramFailed",
    "DatagramLayout",
    "DatagramTooLarge",
    "DecodeError",
    "Dialect",
    "DirectOutbound",
    "Ending",
    "Endpoint",
    "GeneralFailure",
    "HostUnreachable",
    "Identity",
    "IpSocketOption",
    "Judge",
    "Leg",
    "LocalProtocolError",
    "MemorySessionStore",
    "NetworkUnreachable",
    "NoAuthentication",
    "NotAllowed",
    "NullObserver",
    "Observer",
    "OperationFailed",
    "Outbound",
    "Parity",
    "Policy",
    "Protection",
    "ProxiedDatagramTransport",
    "ProxiedStream",
    "ProxyTimedOut",
    "ProxyUnreachable",
    "ProxyUrl",
    "RelaySettings",
    "RemoteProtocolError",
    "Rule",
    "Server",
    "ServerWorker",
    "SessionSettings",
    "SessionStore",
    "Settings",
    "SocketOption",
    "Socks6Error",
    "Socks6Outbound",
    "StackOptions",
    "StackRule",
    "TlsFailed",
    "TlsParameters",
    "TokenRejected",
    "TtlExpired",
    "UserTable",
    "VersionMismatch",
]

# Where each name is at home. It is imported when it is first used: `socks6 --help` needs none of them.
_HOMES: Final = {
    "AddressTypeNotSupported": "socks6.errors",
    "Association": "socks6.client.association",
    "AuthenticationFailed": "socks6.errors",
    "Authenticator": "socks6.proxy.authentication.base",
    "BindListener": "socks6.client.bind",
    "BindServer": "socks6.client.bind_server",
    "ByteStream": "socks6.net.stream",
    "CertificateRefused": "socks6.errors",
    "Client": "socks6.client.client",
    "CommandNotSupported": "socks6.errors",
    "ConfigurationError": "socks6.errors",
    "ConnectResult": "socks6.net.stream",
    "ConnectionRefused": "socks6.errors",
    "ConnectionSummary": "socks6.telemetry",
    "ConnectionTimedOut": "socks6.errors",
    "DatagramFailed": "socks6.errors",
    "DRAFT_12": "socks6.message.dialect",
    "DatagramLayout": "socks6.message.dialect",
    "Dialect": "socks6.message.dialect",
    "GO_212": "socks6.message.dialect",
    "DatagramTooLarge": "socks6.errors",
    "DecodeError": "socks6.errors",
    "DirectOutbound": "socks6.net.direct",
    "Ending": "socks6.telemetry",
    "Endpoint": "socks6.net.stream",
    "GeneralFailure": "socks6.errors",
    "HostUnreachable": "socks6.errors",
    "Identity": "socks6.policy.identity",
    "IpSocketOption": "socks6.net.stackopts.adapter",
    "Judge": "socks6.net.stream",
    "Leg": "socks6.message.codes",
    "LocalProtocolError": "socks6.errors",
    "MemorySessionStore": "socks6.proxy.sessions",
    "NetworkUnreachable": "socks6.errors",
    "NoAuthentication": "socks6.proxy.authentication.none",
    "NotAllowed": "socks6.errors",
    "NullObserver": "socks6.telemetry",
    "Observer": "socks6.telemetry",
    "OperationFailed": "socks6.errors",
    "Outbound": "socks6.net.stream",
    "Parity": "socks6.message.codes",
    "Policy": "socks6.policy.rules",
    "Protection": "socks6.net.stream",
    "ProxiedDatagramTransport": "socks6.client.datagram_transport",
    "ProxiedStream": "socks6.client.stream",
    "ProxyTimedOut": "socks6.errors",
    "ProxyUrl": "socks6.net.url",
    "ProxyUnreachable": "socks6.errors",
    "RelaySettings": "socks6.relay.streams",
    "RemoteProtocolError": "socks6.errors",
    "Rule": "socks6.policy.rules",
    "Server": "socks6.proxy.service",
    "ServerWorker": "socks6.proxy.worker",
    "SessionSettings": "socks6.proxy.sessions",
    "SessionStore": "socks6.proxy.sessions",
    "Settings": "socks6.proxy.settings",
    "SocketOption": "socks6.net.stackopts.adapter",
    "Socks6Error": "socks6.errors",
    "Socks6Outbound": "socks6.client.outbound",
    "StackOptions": "socks6.client.options",
    "StackRule": "socks6.policy.stack",
    "TtlExpired": "socks6.errors",
    "TlsFailed": "socks6.errors",
    "TlsParameters": "socks6.net.encryption.contexts",
    "TokenRejected": "socks6.errors",
    "UserTable": "socks6.proxy.authentication.table",
    "VersionMismatch": "socks6.errors",
}

if not TYPE_CHECKING:  # a type checker would believe that there is every name

    def __getattr__(name: str) -> object:
        """Import a public name (PEP 562)."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(_HOMES[name]), name)
        return value


def __dir__() -> list[str]:
    """Return the public names, imported or not."""
    return sorted({*globals(), *__all__})
