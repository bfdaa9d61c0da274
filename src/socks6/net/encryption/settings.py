"""What one may say about TLS, on either side, in URLs or elsewhere."""

import dataclasses
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from socks6.setting import setting

MINIMUM_VERSIONS: Final[Mapping[str, ssl.TLSVersion]] = {
    "1.2": ssl.TLSVersion.TLSv1_2,
    "1.3": ssl.TLSVersion.TLSv1_3,
}
DEFAULT_MINIMUM: Final = "1.3"


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsParameters:
    """Everything that can be said; None and empty where nothing was. Files are PEM.

    A client's `ca`, `pins` and `insecure` say how it knows the proxy; without any of them the system's roots
    must vouch for its name. A pin alone is enough, whatever else the certificate says; together with `ca`,
    both must hold.
    """

    certificate: str | None = setting(
        None,
        "the certificate and its issuers, in PEM",
        flag="--tls-cert",
        unit="FILE",
        default_text="one that the server makes for itself",
        example='"proxy.pem"',
    )
    key: str | None = setting(
        None, "its key", unit="FILE", default_text="in the certificate's file", example='"proxy.key"'
    )
    client_ca: str | None = setting(
        None,
        "let in only clients with certificates of these authorities: they are the users that these name",
        unit="FILE",
        default_text="none",
        example='"users-ca.pem"',
    )
    min_version: str | None = setting(None, "the oldest version of TLS", values={"1.2": "1.2", "1.3": None})
    sni: str | None = None  # a client's: the name that the proxy's certificate must have
    ca: str | None = None
    pins: tuple[bytes, ...] = ()
    alpn_optional: bool = False  # a client's: a proxy over TLS need not say that it speaks SOCKS 6
    insecure: bool = False  # knows the proxy by nothing at all

    def over(self, others: "TlsParameters") -> "TlsParameters":
        """Return what holds when this goes before `others`; a key always comes with its certificate."""
        said = {name: value for name in self.__dataclass_fields__ if (value := getattr(self, name))}
        if "certificate" in said:
            said["key"] = self.key
        return dataclasses.replace(others, **said)

    @property
    def skips_verification(self) -> bool:
        """Whether no authority needs to vouch for the proxy."""
        return self.insecure or (bool(self.pins) and self.ca is None)

    @property
    def minimum(self) -> ssl.TLSVersion:
        """The oldest version of TLS that will do."""
        return MINIMUM_VERSIONS[self.min_version or DEFAULT_MINIMUM]


NOTHING_SAID: Final = TlsParameters()
