"""Who decides whether credentials hold."""

from typing import Protocol

from socks6.policy.identity import Identity
from socks6.protocol.methods.base import Credentials


class Authenticator(Protocol):
    """Knows the users. Shared by all connections of a service."""

    @property
    def required(self) -> bool:
        """Whether clients must authenticate; if not, those without credentials are anonymous."""

    async def verify(self, credentials: Credentials) -> Identity | None:
        """Return who the credentials prove to be there; None if they prove nothing.

        Takes as long for an unknown user as for a known one. Never raises for what a client sent.
        """

    def standing(self, identity: Identity) -> object:  # noqa: ARG002 - for those who know better
        """Return what an identity rests on: equal for as long as its credentials are, None if it is not known.

        After a reload, a session goes on only if the standing of its user is what it was.
        """
        return None
