"""Users with passwords, from the command line or a users file."""

import asyncio
import contextlib
import hmac
import secrets
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

from socks6.compat import override
from socks6.errors import AuthenticationBusy
from socks6.policy.identity import Identity
from socks6.protocol.methods.base import Credentials
from socks6.protocol.methods.userpass import UsernamePasswordCredentials
from socks6.proxy.authentication.base import Authenticator
from socks6.proxy.authentication.hashes import PasswordHash, PlainSecret, encode_password
from socks6.proxy.authentication.users_file import check_name

THREADS: Final = 2  # a check of an argon2id hash of `socks6 passwd` takes 19 MiB and a core for some 30 ms
MAX_WAITING_CHECKS: Final = 1024  # checks that wait for a thread; more are refused as busy
REMEMBERED_SECONDS: Final = 300.0
REMEMBERED: Final = 4096
KEY_SIZE: Final = 32


class CredentialCache:
    """Remembers, for a while, which names and passwords were found to belong together: a slow hash is paid once.

    What is kept is an HMAC under a key that never leaves this object. The trade-off: an attacker that can read the
    memory of this process could try passwords against it quickly, for as long as it is remembered; but it could as
    well read the passwords themselves when they arrive. In exchange a client that opens fifty connections costs one
    hash, not fifty, and is still let in while others flood the proxy with guesses.

    An entry holds for the hash that the password was checked against (`against`) alone: so it outlives a reload that
    leaves the user's password as it was.
    """

    def __init__(self, *, seconds: float, size: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._size = size
        self._clock = clock
        self._key = secrets.token_bytes(KEY_SIZE)
        self._proofs: OrderedDict[bytes, tuple[float, object]] = OrderedDict()

    def __len__(self) -> int:
        """Return how many are remembered, the outlived ones among them."""
        return len(self._proofs)

    def digest(self, name: bytes, password: bytes) -> bytes:
        """Return what stands for a name with a password."""
        return hmac.digest(self._key, len(name).to_bytes(4, "big") + name + password, "sha256")

    def add(self, digest: bytes | None, against: object) -> None:
        """Remember a digest from now on, unless it is None; the oldest is forgotten when there are too many."""
        if digest is None:
            return
        self._proofs[digest] = self._clock() + self._seconds, against
        self._proofs.move_to_end(digest)
        if len(self._proofs) > self._size:
            self._proofs.popitem(last=False)

    def holds(self, digest: bytes | None, against: object) -> bool:
        """Return whether it was added less than `seconds` ago, against the same hash; None never was."""
        if digest is None:
            return False
        now = self._clock()
        until, checked = self._proofs.get(digest, (now, None))
        if now >= until or checked != against:
            self._proofs.pop(digest, None)
            return False
        return True


class PasswordChecker:
    """What a table hands on to the one that replaces it: threads that hash, and the cache."""

    def __init__(self, threads: int, proofs: CredentialCache) -> None:
        self.proofs: Final = proofs
        self.concurrency: Final = threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="socks6-passwords")
        self._free = asyncio.Semaphore(threads)

    async def matches(self, hashed: PasswordHash, password: bytes, proof: bytes | None) -> bool:
        """Check a password in a thread, once one is free; not if it is known to be right by then.

        Raises AuthenticationBusy where the system has no thread left.
        """
        await self._free.acquire()
        job: Future[bool] | None = None
        try:
            if self.proofs.holds(proof, hashed):  # another connection has proved it meanwhile
                return True
            try:
                job = self._pool.submit(hashed.matches, password)
            except RuntimeError as error:
                raise AuthenticationBusy(f"no thread to check a password in: {error}") from error
            return await asyncio.wrap_future(job)
        finally:
            if job is None or job.done() or job.cancel():
                self._free.release()
            else:
                self._finish_later(job, hashed, proof)

    def _finish_later(self, job: "Future[bool]", hashed: PasswordHash, proof: bytes | None) -> None:
        """Free the thread once it is done with a job that was given up, and keep what it finds."""
        loop = asyncio.get_running_loop()

        def finish() -> None:
            self._free.release()
            if job.result():
                self.proofs.add(proof, hashed)

        def done(_: "Future[bool]") -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(finish)

        job.add_done_callback(done)


class UserTable(Authenticator):
    """Verifies names and passwords.

    Slow hashes are checked in a few threads of its own, never on the event loop; the queue is bounded.
    A pair that was found right passes without a hash for five minutes: see `CredentialCache` for the price.
    A table that replaces another (a reload) keeps its threads, and its cache for users whose hashes are the same.

    An unknown user is checked against a stand-in, one of the hashes that most users have, so that it takes as
    long as a known one. Where most hashes are slow, a wrong password for one of the quick secrets pays the
    stand-in too. Only hashes of several slow kinds in one table can still be distinguished.
    """

    def __init__(
        self,
        entries: Mapping[str, PasswordHash],
        *,
        threads: int = THREADS,
        queue: int = MAX_WAITING_CHECKS,
        remembered_seconds: float = REMEMBERED_SECONDS,
        remembered: int = REMEMBERED,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._users = dict(entries) if isinstance(entries, dict) else entries
        self._count = len(entries)
        self._stand_in = most_usual(entries)
        self._room = queue
        proofs = CredentialCache(seconds=remembered_seconds, size=remembered, clock=clock)
        self.checker = PasswordChecker(threads, proofs)

    @classmethod
    def from_plain(cls, passwords: Mapping[str, str]) -> "UserTable":
        """Return a table of users whose passwords are given in the clear. Raises ConfigurationError."""
        return cls(plain_entries(passwords))

    @property
    @override
    def user_count(self) -> int:
        return self._count

    @override
    def knows(self, name: bytes) -> bool | None:
        return name.decode(errors="replace") in self._users

    @property
    @override
    def required(self) -> bool:
        return True

    @property
    @override
    def concurrency(self) -> int:
        return self.checker.concurrency

    @override
    async def verify(self, credentials: Credentials, source: str = "") -> Identity | None:
        if not isinstance(credentials, UsernamePasswordCredentials):
            return None
        identity, hashed = self._find(credentials.username)
        digest = self.checker.proofs.digest(credentials.username, credentials.password)
        proof = None if identity is None else digest
        if not await self._matches(hashed, credentials.password, proof):
            return None
        self.checker.proofs.add(proof, hashed)
        return identity

    @override
    def cached_identity(self, credentials: Credentials, source: str = "") -> Identity | None:
        if not isinstance(credentials, UsernamePasswordCredentials):
            return None
        identity, hashed = self._find(credentials.username)
        proof = self.checker.proofs.digest(credentials.username, credentials.password)
        return identity if self.checker.proofs.holds(proof, hashed) else None

    @override
    def credential_version(self, identity: Identity) -> object:
        return self._users.get(identity.name)

    @override
    def inherit(self, old: Authenticator) -> None:
        if isinstance(old, UserTable):
            self.checker = old.checker

    def _find(self, username: bytes) -> tuple[Identity | None, PasswordHash]:
        """Return a user and its hash; None and the stand-in if there is no such user."""
        try:
            name = username.decode()
        except UnicodeDecodeError:
            return None, self._stand_in
        hashed = self._users.get(name)
        return (None, self._stand_in) if hashed is None else (Identity(name=name), hashed)

    async def _matches(self, hashed: PasswordHash, password: bytes, proof: bytes | None) -> bool:
        """Return whether it is the password, after as long as that takes for any other."""
        if hashed.cost:
            return await self._check(hashed, password, proof)
        right = hashed.matches(password)
        if not right:
            await self._check_stand_in(password)
        return right

    async def _check_stand_in(self, password: bytes) -> None:
        """Take as long as most checks of passwords do. Raises AuthenticationBusy."""
        if self._stand_in.cost:
            await self._check(self._stand_in, password, None)

    async def _check(self, hashed: PasswordHash, password: bytes, proof: bytes | None) -> bool:
        """Check a slow hash in a thread, unless it was found right lately. Raises AuthenticationBusy."""
        if self.checker.proofs.holds(proof, hashed):
            return True
        if self._room == 0:
            raise AuthenticationBusy("too many passwords wait to be checked")
        self._room -= 1
        try:
            return await self.checker.matches(hashed, password, proof)
        finally:
            self._room += 1


def plain_entries(passwords: Mapping[str, str]) -> dict[str, PasswordHash]:
    """Return table entries for passwords given in the clear. Raises ConfigurationError."""
    entries: dict[str, PasswordHash] = {}
    for name, password in passwords.items():
        check_name(name)
        entries[name] = PlainSecret.of(encode_password(password))
    return entries


def most_usual(entries: Mapping[str, PasswordHash]) -> PasswordHash:
    """Return one of the hashes that cost what most of them cost."""
    costs: Counter[str] = Counter()
    examples: dict[str, str] = {}
    for name, hashed in entries.items():
        costs[hashed.cost] += 1
        examples.setdefault(hashed.cost, name)
    if not costs:
        return PlainSecret.of(b"")
    return entries[examples[costs.most_common(1)[0][0]]]
