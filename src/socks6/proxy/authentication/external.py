"""Authenticators outside of this process: what they are asked, what they answer, and what holds for all of them.

A question is an object of JSON with `name`, `password` and `source`. An answer is one with `ok`, true or false, beside false
perhaps `"unknown": true`, beside true perhaps `user`, the name that the user has here, and `limits`, by the names of
`policy.user_limits`; or one with `error`, why there is none. Whatever else comes back, or nothing in time, lets nobody in.
"""

import asyncio
import hmac
import json
import secrets
import time
from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from enum import Enum
from typing import Final, TypeAlias

from socks6.compat import override
from socks6.dataclass import dataclass
from socks6.errors import AuthenticationBusy, ConfigurationError
from socks6.policy.identity import Identity
from socks6.policy.user_limits import NO_LIMITS, UserLimits
from socks6.protocol.methods.base import Credentials
from socks6.protocol.methods.userpass import UsernamePasswordCredentials
from socks6.proxy.authentication.base import (
    AUTH_SECONDS,
    CACHE_SECONDS,
    Authenticator,
    UserUnknown,
)
from socks6.proxy.authentication.chain import RefusalDurations
from socks6.proxy.authentication.users_file import check_name
from socks6.telemetry import AuthenticatorDown, AuthenticatorUp, EventHub, Observer

MAX_ANSWER: Final = 65_536  # bytes of an answer
MAX_REASON: Final = 200  # characters of what is told of a failure
NEGATIVE_SECONDS: Final = 5.0  # that a refusal is remembered, at most
CACHED_ANSWERS: Final = 4096


class FailureCause(Enum):
    """Why there is no answer. As long as the cause is the same, it is told once."""

    NOT_STARTED = "it cannot be started"
    ENDED = "it ended"
    NO_ANSWER = "no answer"
    NOT_UNDERSTOOD = "no valid answer"
    UNREACHABLE = "it cannot be reached"
    STATUS = "an unexpected status"
    CANNOT_TELL = "it cannot tell"
    OVERLOADED = "too many questions are under way"


class ExternalFailure(Exception):
    """There is no valid answer: the client is not let in, and is not blamed for it."""

    def __init__(self, cause: FailureCause, detail: str = "") -> None:
        super().__init__(cause, detail)
        self.cause: Final = cause
        self.detail: Final = detail

    @override
    def __str__(self) -> str:
        return f"{self.cause.value}: {self.detail}"[:MAX_REASON] if self.detail else self.cause.value


class Refusal(Enum):
    """The answers that let nobody in."""

    WRONG = "the password is wrong, or the user may not come in"
    UNKNOWN = "there is no such user"


Answer: TypeAlias = Identity | Refusal
Question: TypeAlias = Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalSettings:
    """How authenticators outside of this process are asked."""

    timeout: float = AUTH_SECONDS  # seconds
    cache: float = CACHE_SECONDS  # seconds that an answer holds; 0 to ask each time


class ExternalAuthenticator(Authenticator):
    """Asks an authenticator outside: `ask` is what a subclass defines, and `key`, what it asks.

    Answers are remembered for a while, refusals for a shorter one. A remembered refusal takes as long as one that is not.
    """

    required: Final = True
    name: str  # for operators

    def __init__(
        self,
        key: object,
        settings: ExternalSettings | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.key: Final = key
        self.settings: Final = settings or ExternalSettings()
        self.health = Health(self.name)
        self.answers = AnswerCache(clock=clock)
        self.durations = RefusalDurations()
        self._free: Final = asyncio.Semaphore(self.concurrency)

    @abstractmethod
    async def ask(self, question: Question, deadline: float) -> Answer:
        """Return the answer to a question; cancelled at the `deadline` of the loop's clock. Raises ExternalFailure."""

    @override
    async def verify(self, credentials: Credentials, source: str = "") -> Identity | None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        question = _question(credentials, source)
        digest = self.answers.digest(question)
        answer = Refusal.WRONG if question is None else self.answers.get(digest)
        if question is not None and answer is None:
            answer = await self._ask_in_time(question)
            self.answers.add(digest, answer, self.settings.cache)
            if isinstance(answer, Refusal):
                self.durations.add(loop.time() - began)
        elif isinstance(answer, Refusal):
            await asyncio.sleep(self.durations.next())
        if answer is Refusal.UNKNOWN:
            raise UserUnknown
        return _admitted(answer, source)

    async def _ask_in_time(self, question: Question) -> Answer:
        """Return the answer. Raises AuthenticationBusy, and reports why."""
        deadline = asyncio.get_running_loop().time() + self.settings.timeout
        try:
            async with asyncio.timeout_at(deadline), self._free:
                answer = await self.ask(question, deadline)
        except TimeoutError:
            failure = ExternalFailure(FailureCause.NO_ANSWER, f"within {self.settings.timeout:g} s")
        except ExternalFailure as error:
            failure = error
        else:
            self.health.works()
            return answer
        self.health.failed(failure)
        raise AuthenticationBusy(f"the authenticator ({self.name}) failed", is_fault=True) from None

    @override
    def cached_identity(self, credentials: Credentials, source: str = "") -> Identity | None:
        question = _question(credentials, source)
        return (
            None if question is None else _admitted(self.answers.get(self.answers.digest(question)), source)
        )

    @override
    def credential_version(self, identity: Identity) -> object:
        """Return what is asked: who it was that let the user in, as it cannot be asked again without the password."""
        return self.name, self.key

    @override
    def inherit(self, old: Authenticator) -> None:
        if isinstance(old, ExternalAuthenticator) and (old.name, old.key) == (self.name, self.key):
            self.answers = old.answers
            self.durations = old.durations
            self.health = old.health

    @override
    def report_to(self, events: Observer) -> None:
        self.health.events = events


class AnswerCache:
    """Remembers answers for a while by a keyed digest of their questions; `CredentialCache` has the price of that."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._answers: OrderedDict[bytes, tuple[float, Answer]] = OrderedDict()

    def __len__(self) -> int:
        """Return how many are remembered, the outlived ones among them."""
        return len(self._answers)

    def digest(self, question: Question | None) -> bytes:
        """Return what stands for a question."""
        return hmac.digest(self._key, json.dumps(question).encode(), "sha256")

    def add(self, digest: bytes, answer: Answer, seconds: float) -> None:
        """Remember an answer for so long, a refusal for NEGATIVE_SECONDS at most; the oldest is forgotten when there are too many."""
        if isinstance(answer, Refusal):
            seconds = min(seconds, NEGATIVE_SECONDS)
        self._answers[digest] = self._clock() + seconds, answer
        self._answers.move_to_end(digest)
        if len(self._answers) > CACHED_ANSWERS:
            self._answers.popitem(last=False)

    def get(self, digest: bytes) -> Answer | None:
        """Return the answer if it still holds."""
        until, answer = self._answers.get(digest, (0.0, None))
        if answer is not None and self._clock() >= until:
            del self._answers[digest]
            return None
        return answer


class Health:
    """Whether an authenticator works, told to observers when that changes, or why it does not."""

    def __init__(self, name: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._name = name
        self._clock = clock
        self._cause: FailureCause | None = None
        self._since = 0.0
        self.events: Observer = EventHub()

    def failed(self, failure: ExternalFailure) -> None:
        """Report a failure, unless the last one had the same cause."""
        if failure.cause is self._cause:
            return
        if self._cause is None:
            self._since = self._clock()
        self._cause = failure.cause
        self.events.observe(AuthenticatorDown(authenticator=self._name, reason=str(failure)))

    def works(self) -> None:
        """Report that it works again, if it did not."""
        if self._cause is not None:
            self._cause = None
            seconds = round(self._clock() - self._since, 3)
            self.events.observe(AuthenticatorUp(authenticator=self._name, down_for=seconds))


def read_json(data: bytes) -> Mapping[str, object]:
    """Return an object of JSON. Raises ExternalFailure, which quotes nothing: it may hold a password."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        raise ExternalFailure(FailureCause.NOT_UNDERSTOOD, "not JSON") from None
    if not isinstance(value, dict):
        raise ExternalFailure(FailureCause.NOT_UNDERSTOOD, "no object of JSON")
    return value


def read_answer(values: Mapping[str, object], asked_name: str) -> Answer:
    """Return what an object of JSON says of a user. Raises ExternalFailure."""
    match values.get("ok"):
        case True:
            return _read_identity(values, asked_name)
        case False:
            return Refusal.UNKNOWN if values.get("unknown") is True else Refusal.WRONG
        case None if isinstance(error := values.get("error"), str):
            raise ExternalFailure(FailureCause.CANNOT_TELL, error)
        case _:
            raise ExternalFailure(FailureCause.NOT_UNDERSTOOD, "ok is neither true nor false")


def _read_identity(values: Mapping[str, object], asked_name: str) -> Identity:
    name, limits = values.get("user") or asked_name, values.get("limits") or {}
    try:
        if not isinstance(name, str) or not isinstance(limits, dict):
            raise ConfigurationError("user is no text, or limits is no object")
        check_name(name)
        return Identity(name=name, limits=UserLimits.parse(limits) if limits else NO_LIMITS)
    except (ConfigurationError, UnicodeEncodeError) as error:
        raise ExternalFailure(FailureCause.NOT_UNDERSTOOD, str(error)) from None


def _question(credentials: Credentials, source: str) -> Question | None:
    """Return what to ask; None for what is no text, which no user has."""
    if not isinstance(credentials, UsernamePasswordCredentials):
        return None
    try:
        name, password = credentials.username.decode(), credentials.password.decode()
        return {"name": name, "password": password, "source": source}
    except UnicodeDecodeError:
        return None


def _admitted(answer: Answer | None, source: str) -> Identity | None:
    """Return whom an answer lets in from there now: its limits may say that it is not the time, or not the place."""
    if not isinstance(answer, Identity):
        return None
    limits = answer.limits
    return None if limits.has_expired(datetime.now(UTC)) or not limits.allows_source(source) else answer
