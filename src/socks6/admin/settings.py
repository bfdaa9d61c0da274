"""The settings of the admin interface."""

from socks6.dataclass import dataclass
from socks6.net.url import ProxyUrl
from socks6.setting import setting

PREFIX = "/api/v1"  # of the paths of the interface
AUTO = "auto"
NONE = "none"


def _parse_place(text: str) -> ProxyUrl:
    """Return HOST:PORT as the URL of a listener. Raises ConfigurationError."""
    return ProxyUrl.parse_listener(f"http://{text}")


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminSettings:
    """Where a proxy can be administered. Certificates and keys are PEM."""

    socket: str = setting(
        AUTO,
        "be administered at this Unix socket, by this user and root; auto is PID.sock in the runtime folder, if there is one; none, or"
        " --no-admin, is no such socket",
        flag="--admin",
        unit="PATH",
    )
    http: ProxyUrl | None = setting(
        None,
        "be administered by HTTPS at HOST:PORT, too, by those who have the token; on loopback by HTTP unless a certificate is named",
        unit="HOST:PORT",
        parse=_parse_place,
        default_text="nowhere",
        example='"127.0.0.1:8390"',
    )
    token_file: str | None = setting(
        None,
        "the token of --admin-http; made if missing",
        unit="FILE",
        default_text="admin.token in the state folder",
        example='"admin.token"',
    )
    certificate: str | None = setting(
        None,
        "the certificate of --admin-http and its issuers",
        flag="--admin-tls-cert",
        unit="FILE",
        default_text="the server's",
        example='"admin.pem"',
    )
    key: str | None = setting(
        None,
        "its key",
        flag="--admin-tls-key",
        unit="FILE",
        default_text="in the certificate's file",
        example='"admin.key"',
    )
    names: tuple[str, ...] = setting(
        (),
        "a name by which --admin-http is reached, beside addresses and the HOST that it names; requests for others are refused;"
        " repeatable",
        flag="--admin-name",
        unit="HOST",
        many=True,
        example='["admin.example"]',
    )
