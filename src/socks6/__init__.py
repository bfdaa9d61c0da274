"""SOCKS version 6: client, server and converter (draft-olteanu-intarea-socks-6-12).

`Client` reaches hosts through a proxy, `socks6.sync.Client` does so by blocking calls, `Server` is a proxy, `ServerWorker` serves
clients over any byte stream. All names in `__all__` are public, and so are those of `socks6.sync` and the modules of `socks6.message`
(the wire format), `socks6.protocol` (the conversations and authentication methods, without input or output) and `socks6.policy` (who
may do what). Everything else may change in any version.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Final

# fmt: off
# ruff: isort: off
if TYPE_CHECKING:
    from socks6.client.association import Association
    from socks6.client.association_factory import UdpPathChoice
    from socks6.client.bind import BindListener, BindServer, ConnectedCallback
    from socks6.client.client import Client, ProxyCheck, Timeout
    from socks6.client.connector import DialFunction
    from socks6.client.datagram_transport import ProxiedDatagramTransport
    from socks6.client.monitor import UpstreamMonitor
    from socks6.client.options import Options, StackOptions
    from socks6.client.outbound import UpstreamOutbound
    from socks6.client.receive_queue import DatagramReceiver, ReceivedDatagram
    from socks6.client.requester import MethodFactory
    from socks6.client.stream import ProxiedStream
    from socks6.client.upstream_choice import UpstreamOrder
    from socks6.client.upstream_group import UpstreamGroup
    from socks6.errors import (
        AddressTypeNotSupported, AuthenticationBusy, AuthenticationFailed, CertificateRefused,
        CommandNotSupported, ConfigurationError, ConnectionRefused, ConnectionTimedOut, DatagramFailed,
        DatagramTooLarge, DecodeError, GeneralFailure, HostUnreachable, LocalProtocolError,
        NetworkUnreachable, NotAllowed, OperationFailed, ProxyTimedOut, ProxyUnreachable,
        RemoteProtocolError, Socks6Error, TlsFailed, TokenRejected, TtlExpired, UpstreamFailed,
        VersionMismatch
    )
    from socks6.local import LocalProxy, local_proxy
    from socks6.message.codes import Leg, Parity
    from socks6.message.dialect import DRAFT_12, DatagramLayout, Dialect, GO_212
    from socks6.net.accept import ConnectionLimits
    from socks6.net.datagrams.direct import DatagramSettings
    from socks6.net.datagrams.filtering import Filtering
    from socks6.net.direct import DirectOutbound
    from socks6.net.encryption.contexts import TlsParameters
    from socks6.net.local_addresses import LocalAddresses
    from socks6.net.resolve import Lifetimes, Lookup, ResolvedAddress, Resolver
    from socks6.net.stackopts.adapter import IpSocketOption, SocketOption
    from socks6.net.stream import (
        AcceptedPeer, Binding, ByteStream, ConnectResult, DatagramChannel, DatagramJudge, DatagramReport,
        DatagramRoute, DatagramSink, Endpoint, FrameSink, Judge, Listener, MultiplexedConnection, Outbound,
        Packet, Protection, ReceivedFrom, SocketAddress
    )
    from socks6.net.transports.base import (
        ConnectParameters, ConnectionListener, Connector, ListenParameters, StreamRequest, Transport
    )
    from socks6.net.transports.registry import TRANSPORTS
    from socks6.net.transports.tls import TlsSession
    from socks6.net.turns import Turns
    from socks6.net.upstream import UpstreamState, UpstreamStatus
    from socks6.net.url import ProxyUrl, QuicParameters
    from socks6.policy.identity import Identity
    from socks6.policy.rules import Policy, Rule
    from socks6.policy.stack import StackRule
    from socks6.policy.user_limits import QuotaPeriod, UserLimits
    from socks6.proxy.accounts import Usage, UsageStore
    from socks6.proxy.authentication.base import Authenticator, NoAuthentication, UserChange, UserUnknown
    from socks6.proxy.authentication.hashes import PasswordHash
    from socks6.proxy.authentication.table import UserTable
    from socks6.proxy.commands import OpenedAssociation, ProxyRequest
    from socks6.proxy.connection import ClientConnection
    from socks6.proxy.context import RequestJudge
    from socks6.proxy.inbounds.base import Inbound, Tunnel
    from socks6.proxy.live import ConnectionInfo, LiveTable, SessionInfo, TrafficTotals
    from socks6.proxy.service import Server
    from socks6.proxy.sessions import (
        MemorySessionStore, OpenedSession, Session, SessionSettings, SessionStore
    )
    from socks6.proxy.settings import BindSettings, Settings, UdpSettings
    from socks6.proxy.worker import ServerWorker
    from socks6.relay.streams import RelayResult, RelaySettings
    from socks6.sync.client import connect
    from socks6.telemetry import (
        AcceptPaused, AssociationOpened, AuthenticatorDown, AuthenticatorUp, BindingOpened, CertificateRead,
        ConnectionEnded, ConnectionEvent, ConnectionOpened, ConnectionSecured, DtlsUnavailable, Ending, Event,
        LimitReached, Listening, Observer, PeerAccepted, QuotaReached, Reloaded, RemoteConnected, RequestMade, SessionOpened, SessionTornDown, SourcePenalized, Stopping,
        StreamPushed, TokenSpent, UnexpectedError, UpstreamDown, UpstreamUp, UserAuthenticated, UserRefused
    )

    __version__: str

__all__ = [  # noqa: RUF022 - sorted without regard to what is a constant
    "AcceptPaused", "AcceptedPeer", "AddressTypeNotSupported", "Association", "AssociationOpened",
    "AuthenticationBusy", "AuthenticationFailed", "Authenticator", "AuthenticatorDown", "AuthenticatorUp",
    "BindListener", "BindServer", "BindSettings", "Binding", "BindingOpened", "ByteStream",
    "CertificateRead", "CertificateRefused", "Client", "ClientConnection", "CommandNotSupported",
    "ConfigurationError", "ConnectParameters", "ConnectResult", "ConnectedCallback", "ConnectionEnded",
    "ConnectionEvent", "ConnectionInfo", "ConnectionLimits", "ConnectionListener", "ConnectionOpened",
    "ConnectionRefused", "ConnectionSecured", "ConnectionTimedOut", "Connector", "DRAFT_12",
    "DatagramChannel", "DatagramFailed", "DatagramJudge", "DatagramLayout", "DatagramReceiver",
    "DatagramReport", "DatagramRoute", "DatagramSettings", "DatagramSink", "DatagramTooLarge",
    "DecodeError", "DialFunction", "Dialect", "DirectOutbound", "DtlsUnavailable", "Ending", "Endpoint",
    "Event", "Filtering", "FrameSink", "GO_212", "GeneralFailure", "HostUnreachable", "Identity",
    "Inbound", "IpSocketOption", "Judge", "Leg", "Lifetimes", "LimitReached", "ListenParameters",
    "Listener", "Listening", "LiveTable", "LocalAddresses", "LocalProtocolError", "LocalProxy", "Lookup",
    "MemorySessionStore", "MethodFactory", "MultiplexedConnection", "NetworkUnreachable",
    "NoAuthentication", "NotAllowed", "Observer", "OpenedAssociation", "OpenedSession", "OperationFailed",
    "Options", "Outbound", "Packet", "Parity", "PasswordHash", "PeerAccepted", "Policy", "Protection",
    "ProxiedDatagramTransport", "ProxiedStream", "ProxyCheck", "ProxyRequest", "ProxyTimedOut",
    "ProxyUnreachable", "ProxyUrl", "QuicParameters", "QuotaPeriod", "QuotaReached", "ReceivedDatagram",
    "ReceivedFrom", "RelayResult", "RelaySettings", "Reloaded", "RemoteConnected", "RemoteProtocolError",
    "RequestJudge", "RequestMade", "ResolvedAddress", "Resolver", "Rule", "Server", "ServerWorker",
    "Session", "SessionInfo", "SessionOpened", "SessionSettings", "SessionStore", "SessionTornDown",
    "Settings", "SocketAddress", "SocketOption", "Socks6Error", "SourcePenalized", "StackOptions",
    "StackRule", "Stopping", "StreamPushed", "StreamRequest", "TRANSPORTS", "Timeout", "TlsFailed",
    "TlsParameters", "TlsSession", "TokenRejected", "TokenSpent", "TrafficTotals", "Transport",
    "TtlExpired", "Tunnel", "Turns", "UdpPathChoice", "UdpSettings", "UnexpectedError", "UpstreamDown",
    "UpstreamFailed", "UpstreamGroup", "UpstreamMonitor", "UpstreamOrder", "UpstreamOutbound",
    "UpstreamState", "UpstreamStatus", "UpstreamUp", "Usage", "UsageStore", "UserAuthenticated",
    "UserChange", "UserLimits", "UserRefused", "UserTable", "UserUnknown", "VersionMismatch", "connect",
    "local_proxy",
]

# Where each name is defined. It is imported when it is first used: `socks6 --help` needs none of them.
_MODULES: Final = {
    "socks6.client.association": "Association",
    "socks6.client.association_factory": "UdpPathChoice",
    "socks6.client.bind": "BindListener BindServer ConnectedCallback",
    "socks6.client.client": "Client ProxyCheck Timeout",
    "socks6.client.connector": "DialFunction",
    "socks6.client.datagram_transport": "ProxiedDatagramTransport",
    "socks6.client.monitor": "UpstreamMonitor",
    "socks6.client.options": "Options StackOptions",
    "socks6.client.outbound": "UpstreamOutbound",
    "socks6.client.receive_queue": "DatagramReceiver ReceivedDatagram",
    "socks6.client.requester": "MethodFactory",
    "socks6.client.stream": "ProxiedStream",
    "socks6.client.upstream_choice": "UpstreamOrder",
    "socks6.client.upstream_group": "UpstreamGroup",
    "socks6.errors": (
        "AddressTypeNotSupported AuthenticationBusy AuthenticationFailed CertificateRefused "
        "CommandNotSupported ConfigurationError ConnectionRefused ConnectionTimedOut DatagramFailed "
        "DatagramTooLarge DecodeError GeneralFailure HostUnreachable LocalProtocolError "
        "NetworkUnreachable NotAllowed OperationFailed ProxyTimedOut ProxyUnreachable RemoteProtocolError "
        "Socks6Error TlsFailed TokenRejected TtlExpired UpstreamFailed VersionMismatch"
    ),
    "socks6.local": "LocalProxy local_proxy",
    "socks6.message.codes": "Leg Parity",
    "socks6.message.dialect": "DRAFT_12 DatagramLayout Dialect GO_212",
    "socks6.net.accept": "ConnectionLimits",
    "socks6.net.datagrams.direct": "DatagramSettings",
    "socks6.net.datagrams.filtering": "Filtering",
    "socks6.net.direct": "DirectOutbound",
    "socks6.net.encryption.contexts": "TlsParameters",
    "socks6.net.local_addresses": "LocalAddresses",
    "socks6.net.resolve": "Lifetimes Lookup ResolvedAddress Resolver",
    "socks6.net.stackopts.adapter": "IpSocketOption SocketOption",
    "socks6.net.stream": (
        "AcceptedPeer Binding ByteStream ConnectResult DatagramChannel DatagramJudge DatagramReport "
        "DatagramRoute DatagramSink Endpoint FrameSink Judge Listener MultiplexedConnection Outbound "
        "Packet Protection ReceivedFrom SocketAddress"
    ),
    "socks6.net.transports.base": (
        "ConnectParameters ConnectionListener Connector ListenParameters StreamRequest Transport"
    ),
    "socks6.net.transports.registry": "TRANSPORTS",
    "socks6.net.transports.tls": "TlsSession",
    "socks6.net.turns": "Turns",
    "socks6.net.upstream": "UpstreamState UpstreamStatus",
    "socks6.net.url": "ProxyUrl QuicParameters",
    "socks6.policy.identity": "Identity",
    "socks6.policy.rules": "Policy Rule",
    "socks6.policy.stack": "StackRule",
    "socks6.policy.user_limits": "QuotaPeriod UserLimits",
    "socks6.proxy.accounts": "Usage UsageStore",
    "socks6.proxy.authentication.base": "Authenticator NoAuthentication UserChange UserUnknown",
    "socks6.proxy.authentication.hashes": "PasswordHash",
    "socks6.proxy.authentication.table": "UserTable",
    "socks6.proxy.commands": "OpenedAssociation ProxyRequest",
    "socks6.proxy.connection": "ClientConnection",
    "socks6.proxy.context": "RequestJudge",
    "socks6.proxy.inbounds.base": "Inbound Tunnel",
    "socks6.proxy.live": "ConnectionInfo LiveTable SessionInfo TrafficTotals",
    "socks6.proxy.service": "Server",
    "socks6.proxy.sessions": (
        "MemorySessionStore OpenedSession Session SessionSettings SessionStore"
    ),
    "socks6.proxy.settings": "BindSettings Settings UdpSettings",
    "socks6.proxy.worker": "ServerWorker",
    "socks6.relay.streams": "RelayResult RelaySettings",
    "socks6.sync.client": "connect",
    "socks6.telemetry": (
        "AcceptPaused AssociationOpened AuthenticatorDown AuthenticatorUp BindingOpened CertificateRead ConnectionEnded ConnectionEvent "
        "ConnectionOpened ConnectionSecured DtlsUnavailable Ending Event LimitReached Listening Observer PeerAccepted "
        "QuotaReached Reloaded RemoteConnected RequestMade SessionOpened SessionTornDown SourcePenalized Stopping "
        "StreamPushed TokenSpent UnexpectedError UpstreamDown UpstreamUp UserAuthenticated UserRefused"
    ),
}
# fmt: on
_PACKAGES: Final = frozenset(("sync",))  # as `socks6.sync`, without an import of their own
_MODULE_OF: Final = {name: module for module, names in _MODULES.items() for name in names.split()}

if not TYPE_CHECKING:  # a type checker would believe that there is every name

    def __getattr__(name: str) -> object:
        """Import a public name (PEP 562)."""
        if name == "__version__":
            value = import_module("socks6.distribution").VERSION
        elif name in _PACKAGES:
            value = import_module(f"socks6.{name}")
        elif name in _MODULE_OF:
            value = getattr(import_module(_MODULE_OF[name]), name)
        else:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    """Return the public names, imported or not."""
    return sorted({*globals(), *__all__})
