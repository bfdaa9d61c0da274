"""What an authenticator is; the one that asks no client for credentials."""

from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

from socks6.compat import override
from socks6.policy.identity import ANONYMOUS, Identity
from socks6.policy.user_limits import UserLimits
from socks6.protocol.methods.base import Credentials
from socks6.telemetry import Observer

DEFAULT_CONCURRENCY: Final = 64  # checks at a time
AUTH_SECONDS: Final = 5.0  # for an authenticator outside of this process to answer
CACHE_SECONDS: Final = 60.0  # that its answer holds
WRONG_CREDENTIALS: Final = "wrong credentials"


class UserUnknown(LookupError):
    """An authenticator does not know the user: of several (`chain.AuthenticatorChain`), the next is asked."""


class UserChange(NamedTuple):
    """What has become of a user since it logged in."""

    name: str
    refusal: str = ""  # why it may not use the proxy any more; "" if it may
    new_password: bool = False


class Authenticator(Protocol):
    """Knows the users. Shared by all connections of a service.

    Yours inherits from this class; `required` and `verify` are all that it must define.
    """

    @property
    def required(self) -> bool:
        """Whether clients must authenticate; if not, those without credentials are anonymous."""

    async def verify(self, credentials: Credentials, source: str = "") -> Identity | None:
        """Return who the credentials prove to be there; None if they prove nothing.

        `source` is the client's address as in events, "" on a Unix socket. Penalties for sources that fail too often are not
        this class's concern: it is not asked for these. Takes as long for an unknown user as for a known one. Never raises for what a client sent; raises
        AuthenticationBusy if there is no room or time for a check. May be cancelled, when the client is gone or its
        time is up. May raise UserUnknown instead of returning None, so that of several the next is asked.
        """

    def knows(self, name: bytes) -> bool | None:  # noqa: ARG002 - for user tables
        """Return whether it knows a user, and so decides about it; None if only `verify` can tell."""
        return None

    @property
    def user_count(self) -> int:
        """How many users it knows; 1 if that is not known: a reload that leaves none is refused."""
        return 1

    @property
    def concurrency(self) -> int:
        """How many checks run at a time; the others wait for their turn, source by source."""
        return DEFAULT_CONCURRENCY

    def cached_identity(self, credentials: Credentials, source: str = "") -> Identity | None:  # noqa: ARG002 - for caches
        """Return the identity that the same credentials, from there, proved lately; None if that is not known at once."""
        return None

    def credential_version(self, identity: Identity) -> object:  # noqa: ARG002 - for user tables
        """Return a value that is equal for as long as an identity's credentials are; None if the user is not known.

        After a reload, sessions and connections of a user serve new requests only if this is what
        it was.
        """
        return None

    def current_limits(self, identity: Identity) -> UserLimits | None:
        """Return the limits that a user has now, whatever they were when it logged in; None if it may not use the proxy any more."""
        return identity.limits

    def refusal(self, credentials: Credentials, source: str = "") -> str:  # noqa: ARG002 - for user tables
        """Return, for the log, why `verify` has just given None."""
        return WRONG_CREDENTIALS

    @property
    def watched(self) -> bool:
        """Whether users may change without a reload, so that `changes` is to be asked."""
        return False

    async def changes(self) -> Sequence[UserChange]:
        """Return what has changed since the last call, of users that have logged in. Raises AuthenticationBusy, and reports why."""
        return ()

    def inherit(self, old: "Authenticator") -> None:  # noqa: ARG002 - for caches
        """Take over what the authenticator that this one replaces has cached of users that are the same."""
        return

    def report_to(self, events: Observer) -> None:  # noqa: ARG002 - for those that may fail
        """Observe events by these from now on; called by the proxy that it is of."""
        return

    def close(self) -> None:
        """Free what it holds, but for what another one has inherited; checks under way may end. Idempotent."""
        return

    async def wait_closed(self) -> None:
        """Wait, after `close`, until all is freed; a few seconds at most."""
        return


def same_credentials(new: Authenticator, old: Authenticator, identity: Identity) -> bool:
    """Return whether `new` gives an identity the credential version that `old`, which let it in, gave it."""
    if new is old:
        return True
    credential_version = new.credential_version(identity)
    return credential_version is not None and credential_version == old.credential_version(identity)


class NoAuthentication(Authenticator):
    """Takes every client, with whatever credentials, as anonymous."""

    required = False
    user_count = 0

    @override
    async def verify(self, credentials: Credentials, source: str = "") -> Identity | None:
        return ANONYMOUS

    @override
    def credential_version(self, identity: Identity) -> object:
        return True if identity == ANONYMOUS else None
