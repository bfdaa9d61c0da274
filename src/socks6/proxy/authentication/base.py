"""Who decides whether credentials hold."""

from typing import Final, Protocol

from typing_extensions import override

from socks6.policy.identity import ANONYMOUS, Identity
from socks6.protocol.methods.base import Credentials

CONCURRENT: Final = (
    64  # checks that an authenticator of somebody else's gets at a time, unless it says otherwise
)


class Verifier(Protocol):
    """Tells who a client is."""

    @property
    def required(self) -> bool:
        """Whether clients must authenticate; if not, those without credentials are anonymous."""

    async def verify(self, credentials: Credentials) -> Identity | None:
        """Return who the credentials prove to be there; None if they prove nothing.

        Takes as long for an unknown user as for a known one. Never raises for what a client sent; raises
        AuthenticationBusy where it cannot tell now, for want of room or time. May be cancelled, when the client
        is gone or its time is up.
        """


class Authenticator(Verifier, Protocol):
    """Knows the users. Shared by all connections of a service.

    Whoever writes one inherits from this class: all but `required` and `verify` has an answer that does.
    """

    @property
    def concurrency(self) -> int:
        """How many checks are worth running at a time: the others wait for their turn, source by source."""
        return CONCURRENT

    def cached_identity(self, credentials: Credentials) -> Identity | None:  # noqa: ARG002 - for those who remember
        """Return who the same credentials were found to prove of late; None if that is not known at once."""
        return None

    def credential_version(self, identity: Identity) -> object:  # noqa: ARG002 - for those who know better
        """Return what an identity rests on: equal for as long as its credentials are, None if it is not known.

        After a reload, sessions and connections of a user serve new requests only if the user's standing is what
        it was.
        """
        return None

    def inherit(self, old: "Authenticator") -> None:  # noqa: ARG002 - for those who remember
        """Learn what another has learnt that this one replaces, of users who are the same."""
        return


def same_credentials(new: Authenticator, old: Authenticator, identity: Identity) -> bool:
    """Return whether `new` says of an identity what `old` did, which let it in."""
    if new is old:
        return True
    credential_version = new.credential_version(identity)
    return credential_version is not None and credential_version == old.credential_version(identity)


class NoAuthentication(Authenticator):
    """Takes every client, with whatever credentials, as anonymous."""

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
