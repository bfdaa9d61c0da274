"""Users with passwords, from the command line or a users file."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from typing_extensions import override

from socks6.policy.identity import Identity
from socks6.protocol.methods.base import Credentials
from socks6.protocol.methods.userpass import UsernamePasswordCredentials
from socks6.proxy.authentication.base import Authenticator
from socks6.proxy.authentication.hashes import PasswordHash, PlainSecret, encode_password
from socks6.proxy.authentication.proofs import RecentProofs
from socks6.proxy.authentication.users_file import check_name, read_users_file

THREADS: Final = 2  # an argon2id check takes 64 MiB and a core for some 50 ms
QUEUE: Final = 1024  # checks that wait for a thread; more fail at once
REMEMBERED_SECONDS: Final = 300.0
REMEMBERED: Final = 4096


class UserTable(Authenticator):
    """Verifies names and passwords.

    Slow hashes are checked in a few threads of its own, never on the event loop; those who wait are bounded.
    A pair that was found right passes without a hash for five minutes: `RecentProofs` tells at what price.
    A new table (a reload) remembers nothing.

    An unknown user is checked against a stand-in, one of the hashes that most users have, so that it takes as
    long as a known one. Where most hashes are slow, a wrong password for one of the quick secrets pays the
    stand-in too. Only hashes of several slow kinds in one table can still be told from each other.
    """

    def __init__(
        self,
        entries: Mapping[str, PasswordHash],
        *,
        threads: int = THREADS,
        queue: int = QUEUE,
        remembered_seconds: float = REMEMBERED_SECONDS,
        remembered: int = REMEMBERED,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._users = {name.encode(): (Identity(name=name), hashed) for name, hashed in entries.items()}
        self._stand_in = _most_usual(list(entries.values()))
        self._proofs = RecentProofs(seconds=remembered_seconds, size=remembered)
        self._clock = clock
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="socks6-passwords")
        self._threads = asyncio.Semaphore(threads)
        self._room = queue

    @classmethod
    def from_plain(cls, passwords: Mapping[str, str]) -> "UserTable":
        """Return a table of users whose passwords are given in the clear. Raises ConfigurationError."""
        return cls(plain_entries(passwords))

    @classmethod
    def from_file(cls, path: str | Path) -> "UserTable":
        """Return a table of the users in a file, its warnings unread. Raises ConfigurationError."""
        return cls(read_users_file(path).entries)

    @property
    @override
    def required(self) -> bool:
        return True

    @override
    async def verify(self, credentials: Credentials) -> Identity | None:
        if not isinstance(credentials, UsernamePasswordCredentials):
            return None
        identity, hashed = self._users.get(credentials.username, (None, self._stand_in))
        password = credentials.password
        if hashed.cost:
            proof = None if identity is None else self._proofs.digest(credentials.username, password)
            right = await self._check(hashed, password, proof)
        else:
            right = hashed.matches(password)
            if not right and self._stand_in.cost:
                await self._check(self._stand_in, password, None)
        return identity if right else None

    @override
    def standing(self, identity: Identity) -> object:
        _, hashed = self._users.get(identity.name.encode(), (None, None))
        return hashed

    async def _check(self, hashed: PasswordHash, password: bytes, proof: bytes | None) -> bool:
        """Check a slow hash in a thread; a success is remembered as `proof`, if there is one."""
        if self._remembers(proof):
            return True
        if self._room == 0:
            return False
        self._room -= 1
        try:
            async with self._threads:
                if self._remembers(proof):  # another connection has proved it meanwhile
                    return True
                loop = asyncio.get_running_loop()
                right = await loop.run_in_executor(self._pool, hashed.matches, password)
                if right and proof is not None:
                    self._proofs.add(proof, self._clock())
                return right
        finally:
            self._room += 1

    def _remembers(self, proof: bytes | None) -> bool:
        return proof is not None and self._proofs.holds(proof, self._clock())


def plain_entries(passwords: Mapping[str, str]) -> dict[str, PasswordHash]:
    """Return table entries for passwords given in the clear. Raises ConfigurationError."""
    entries: dict[str, PasswordHash] = {}
    for name, password in passwords.items():
        check_name(name)
        entries[name] = PlainSecret.of(encode_password(password))
    return entries


def _most_usual(hashes: list[PasswordHash]) -> PasswordHash:
    """Return one of the hashes that cost what most of them cost."""
    if not hashes:
        return PlainSecret.of(b"")
    usual, _ = Counter(hashed.cost for hashed in hashes).most_common(1)[0]
    return next(hashed for hashed in hashes if hashed.cost == usual)
