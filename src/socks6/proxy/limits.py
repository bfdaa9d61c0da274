"""How many things each user may have at a time: connections, associations, bindings."""

from typing import Final, TypeAlias

from socks6.errors import GeneralFailure
from socks6.net.accept import source_of
from socks6.policy.identity import Identity
from socks6.policy.user_limits import NO_LIMITS

Holder: TypeAlias = tuple[str, str]  # a user's name; or "", and a source


def holder_of(identity: Identity, source: str) -> Holder:
    """Return the holder of what a client has: its user, or its source where it has no name."""
    return identity.name, "" if identity.name else source_of(source) or source


class HolderLimits:
    """Counts things in all and by holder; 0 is no limit. A user may have a limit of its own: `own`, in its `UserLimits`.

    This machine's own nameless clients count in all alone, unless `local_clients_too`.
    """

    def __init__(
        self, what: str, *, total: int, per_holder: int, own: str = "", local_clients_too: bool = False
    ) -> None:
        self._what: Final = what
        self._own: Final = own or what
        self._total = total
        self._per_holder = per_holder
        self._local_clients_too = local_clients_too
        self.count = 0  # of all
        self._holders: dict[Holder, int] = {}

    def enter(self, identity: Identity, source: str) -> Holder:
        """Count one in and return its holder, for `leave`. Raises GeneralFailure when there are enough."""
        holder = holder_of(identity, source)
        if self._total and self.count >= self._total:
            raise GeneralFailure(f"{self.count} {self._what} already")
        held = self._holders.get(holder, 0)
        per_holder = self._per_holder
        if identity.limits is not NO_LIMITS:
            per_holder = getattr(identity.limits, self._own) or per_holder
        if 0 < per_holder <= held and (self._local_clients_too or identity.name or source_of(source)):
            name = identity.name or source_of(source) or "this machine"
            raise GeneralFailure(f"{held} {self._what} of {name} already")
        self._holders[holder] = held + 1
        self.count += 1
        return holder

    def leave(self, holder: Holder) -> None:
        """Count one out that was counted in."""
        self.count -= 1
        self._holders[holder] -= 1
        if not self._holders[holder]:
            del self._holders[holder]
