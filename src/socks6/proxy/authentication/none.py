"""No authentication: for proxies that ask nobody who they are."""

from typing_extensions import override

from socks6.policy.identity import ANONYMOUS, Identity
from socks6.protocol.methods.base import Credentials
from socks6.proxy.authentication.base import Authenticator


class NoAuthentication(Authenticator):
    """Takes everybody, with whatever credentials, as anonymous."""

    @property
    @override
    def required(self) -> bool:
        return False

    @override
    async def verify(self, credentials: Credentials) -> Identity | None:
        return ANONYMOUS

    @override
    def credential_version(self, identity: Identity) -> object:
        return True if identity == ANONYMOUS else None
