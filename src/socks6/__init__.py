"""SOCKS version 6: client, server and converter (draft-olteanu-intarea-socks-6-12).

`Client` reaches hosts through a proxy, `Server` is one, `ServerWorker` serves clients over any byte stream.
The wire format is `socks6.message`, the conversations without input or output are `socks6.protocol`.
"""

from socks6.client.client import Client
from socks6.client.outbound import Socks6Outbound
from socks6.client.stream import ProxiedStream
from socks6.errors import (
    AddressTypeNotSupported,
    AuthenticationFailed,
    CommandNotSupported,
    ConfigurationError,
    ConnectionRefused,
    ConnectionTimedOut,
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
    TTLExpired,
    VersionMismatch,
)
from socks6.net.direct import DirectOutbound
from socks6.net.stream import ByteStream, Connection, Endpoint, Judge, Outbound, Protection
from socks6.net.url import ProxyURL
from socks6.policy.identity import Identity
from socks6.policy.rules import Policy, Rule
from socks6.proxy.authentication.base import Authenticator
from socks6.proxy.authentication.none import NoAuthentication
from socks6.proxy.authentication.table import UserTable
from socks6.proxy.service import Server
from socks6.proxy.settings import Settings
from socks6.proxy.worker import ServerWorker
from socks6.relay.plane import RelaySettings
from socks6.telemetry import ConnectionSummary, Ending, NullObserver, Observer

__all__ = [
    "AddressTypeNotSupported",
    "AuthenticationFailed",
    "Authenticator",
    "ByteStream",
    "Client",
    "CommandNotSupported",
    "ConfigurationError",
    "Connection",
    "ConnectionRefused",
    "ConnectionSummary",
    "ConnectionTimedOut",
    "DecodeError",
    "DirectOutbound",
    "Ending",
    "Endpoint",
    "GeneralFailure",
    "HostUnreachable",
    "Identity",
    "Judge",
    "LocalProtocolError",
    "NetworkUnreachable",
    "NoAuthentication",
    "NotAllowed",
    "NullObserver",
    "Observer",
    "OperationFailed",
    "Outbound",
    "Policy",
    "Protection",
    "ProxiedStream",
    "ProxyTimedOut",
    "ProxyURL",
    "ProxyUnreachable",
    "RelaySettings",
    "RemoteProtocolError",
    "Rule",
    "Server",
    "ServerWorker",
    "Settings",
    "Socks6Error",
    "Socks6Outbound",
    "TTLExpired",
    "UserTable",
    "VersionMismatch",
]
