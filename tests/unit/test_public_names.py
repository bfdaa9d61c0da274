"""The public names, pinned: one that comes or goes is a decision, and a line in changes.d."""

import ast
import inspect
from typing import Final

import socks6

PUBLIC: Final = [
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
    "DRAFT_12",
    "DatagramLayout",
    "DatagramTooLarge",
    "DecodeError",
    "Dialect",
    "DirectOutbound",
    "GO_212",
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
    "ProxyUrl",
    "ProxyUnreachable",
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
    "TtlExpired",
    "TlsFailed",
    "TlsParameters",
    "TokenRejected",
    "UserTable",
    "VersionMismatch",
]


def test_public_names_are_these() -> None:
    assert sorted(socks6.__all__) == sorted(PUBLIC)


def test_type_checkers_are_told_of_every_name_where_it_is_found_at_run_time() -> None:
    tree = ast.parse(inspect.getsource(socks6))
    told = {
        alias.name: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module is not None and node.module.startswith("socks6.")
        for alias in node.names
    }
    homes = next(
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "_HOMES" and node.value is not None
    )

    assert told == homes
    assert sorted(homes) == sorted(socks6.__all__)
