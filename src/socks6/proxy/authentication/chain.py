"""Several authenticators as one: the first that knows a user decides about it.

A name that one of them knows is not tried with the next: a user that was disabled in the first is not let in by the
second, and a mistyped password of the first's user never reaches a service outside.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Final

from socks6.compat import override
from socks6.policy.identity import Identity
from socks6.policy.user_limits import UserLimits
from socks6.protocol.methods.base import Credentials
from socks6.proxy.authentication.base import Authenticator, UserChange, UserUnknown
from socks6.telemetry import Observer

REMEMBERED_DURATIONS: Final = 64  # of each one's refusals
FIRST_DURATION: Final = 0.05  # seconds, as long as none is known


class RefusalDurations:
    """How long refusals took lately, so that one without a check can take as long."""

    def __init__(self) -> None:
        self._durations: deque[float] = deque(maxlen=REMEMBERED_DURATIONS)

    def __bool__(self) -> bool:
        """Return whether any is known."""
        return bool(self._durations)

    def add(self, seconds: float) -> None:
        """Remember one; the oldest is forgotten when there are too many."""
        self._durations.append(seconds)

    def next(self) -> float:
        """Return each of them in turn; FIRST_DURATION as long as none is known."""
        if not self._durations:
            return FIRST_DURATION
        self._durations.rotate()
        return self._durations[0]


class AuthenticatorChain(Authenticator):
    """Asks its members in their order, until one knows the user.

    The time that a refusal takes does not tell who has decided: it is what all members together take. One that was not
    asked is waited for, as long as one of its last refusals took.
    """

    required: Final = True

    def __init__(self, members: Sequence[Authenticator]) -> None:
        self.members: Final = tuple(members)
        self._durations: Final = tuple(RefusalDurations() for _ in self.members)

    @property
    @override
    def user_count(self) -> int:
        return sum(member.user_count for member in self.members)

    @property
    @override
    def concurrency(self) -> int:
        return sum(member.concurrency for member in self.members)

    @override
    def knows(self, name: bytes) -> bool | None:
        answers = [member.knows(name) for member in self.members]
        return True if True in answers else None if None in answers else False

    @override
    async def verify(self, credentials: Credentials, source: str = "") -> Identity | None:
        asked = set()
        for index, member in enumerate(self.members):
            if not _may_know(member, credentials):
                continue
            identity, known = await self._ask(index, credentials, source)
            if identity is not None:
                return identity
            asked.add(index)
            if known:
                break
        seconds = 0.0
        for index, durations in enumerate(self._durations):
            if index in asked:
                continue
            if not durations and not _may_know(self.members[index], credentials):
                await self._ask(
                    index, credentials, source
                )  # it knows no such user: this is to learn how long that takes
            else:
                seconds += durations.next()
        await asyncio.sleep(seconds)
        return None

    async def _ask(self, index: int, credentials: Credentials, source: str) -> tuple[Identity | None, bool]:
        """Ask a member; return also whether it knows the user."""
        loop = asyncio.get_running_loop()
        began, known = loop.time(), True
        try:
            identity = await self.members[index].verify(credentials, source)
        except UserUnknown:
            identity, known = None, False
        if identity is None:
            self._durations[index].add(loop.time() - began)
        return identity, known

    @override
    def cached_identity(self, credentials: Credentials, source: str = "") -> Identity | None:
        name = credentials.subject
        for member in self.members:
            knows = None if name is None else member.knows(name)
            if knows is False:
                continue
            identity = member.cached_identity(credentials, source)
            if knows or identity is not None:
                return identity
        return None

    @override
    def credential_version(self, identity: Identity) -> object:
        """Return that of the member that knows the user; otherwise those of all that may, as any of them may have let it in."""
        name = identity.name.encode()
        may_know = []
        for member in self.members:
            knows = member.knows(name)
            if knows:
                return member.credential_version(identity)
            if knows is None:
                may_know.append(member.credential_version(identity))
        return tuple(may_know) or None

    @override
    def current_limits(self, identity: Identity) -> UserLimits | None:
        """Return those of the member that knows the user; otherwise None if a member that may know it refuses it."""
        name = identity.name.encode()
        for member in self.members:
            knows = member.knows(name)
            limits = identity.limits if knows is False else member.current_limits(identity)
            if knows or limits is None:
                return limits
        return identity.limits

    @override
    def refusal(self, credentials: Credentials, source: str = "") -> str:
        name = credentials.subject or b""
        decides = next((member for member in self.members if member.knows(name)), self.members[-1])
        return decides.refusal(credentials, source)

    @property
    @override
    def watched(self) -> bool:
        return any(member.watched for member in self.members)

    @override
    async def changes(self) -> Sequence[UserChange]:
        found: list[UserChange] = []
        for index, member in enumerate(self.members):
            found += [
                change
                for change in await member.changes()
                if not any(before.knows(change.name.encode()) for before in self.members[:index])
            ]
        return found

    @override
    def inherit(self, old: Authenticator) -> None:
        for member in self.members:
            for before in old.members if isinstance(old, AuthenticatorChain) else (old,):
                if type(before) is type(member):
                    member.inherit(before)

    @override
    def report_to(self, events: Observer) -> None:
        for member in self.members:
            member.report_to(events)

    @override
    def close(self) -> None:
        for member in self.members:
            member.close()

    @override
    async def wait_closed(self) -> None:
        for member in self.members:
            await member.wait_closed()


def _may_know(member: Authenticator, credentials: Credentials) -> bool:
    name = credentials.subject
    return name is None or member.knows(name) is not False
