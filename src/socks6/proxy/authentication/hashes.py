"""Passwords that cannot be read back: the kinds of hashes, how to read one, how to make one."""

import hashlib
import hmac
import re
import secrets
from base64 import b64decode
from collections.abc import Callable
from dataclasses import field
from typing import ClassVar, Final, Protocol, Self

from socks6.compat import override
from socks6.dataclass import dataclass
from socks6.errors import ConfigurationError

MAX_PASSWORD_LENGTH: Final = 255  # RFC 1929, section 2
BCRYPT_LENGTH: Final = 72  # all that bcrypt ever looks at; newer versions of the package insist on the cut
SCRYPT_MEMORY: Final = 2**30  # no entry may ask for more
_SCRYPT: Final = re.compile(
    r"\$scrypt\$ln=([1-9][0-9]?),r=([1-9][0-9]{0,3}),p=([1-9][0-9]{0,3})"
    r"\$([A-Za-z0-9+/]{11,})\$([A-Za-z0-9+/]{22,})"
)


class PasswordHash(Protocol):
    """What is left of a password: enough to recognise it."""

    @property
    def cost(self) -> str:
        """What a check costs: equal for hashes that cost the same; "" is next to nothing."""

    def matches(self, password: bytes) -> bool:
        """Return whether this is the password, in a time that does not depend on the answer. Never raises.

        Takes a good part of a second where `cost` is not empty: not for the event loop.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainSecret(PasswordHash):
    """A password that was given in the clear: only a keyed digest is kept, and no two keys are the same."""

    key: bytes = field(repr=False)
    digest: bytes = field(repr=False)

    @classmethod
    def of(cls, password: bytes) -> "PlainSecret":
        """Return the secret for a password."""
        key = secrets.token_bytes(32)
        return cls(key=key, digest=hmac.digest(key, password, "sha256"))

    @property
    @override
    def cost(self) -> str:
        return ""

    @override
    def matches(self, password: bytes) -> bool:
        return hmac.compare_digest(hmac.digest(self.key, password, "sha256"), self.digest)


@dataclass(frozen=True, slots=True, kw_only=True)
class _PackageHash(PasswordHash):
    """A hash in the text form of a package."""

    pattern: ClassVar[re.Pattern[str]]  # what it costs is the first group
    kind: ClassVar[str]
    form: ClassVar[str]

    cost: str
    text: str = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read one. Raises ValueError."""
        match = cls.pattern.fullmatch(text)
        if match is None:
            raise ValueError(f"not a whole {cls.form}")
        return cls(cost=f"{cls.kind} {match[1]}", text=text)


class Argon2Hash(_PackageHash):
    """An argon2id hash."""

    pattern = re.compile(
        r"\$argon2id\$(v=19\$m=[1-9][0-9]{0,9},t=[1-9][0-9]{0,9},p=[1-9][0-9]{0,7})"
        r"\$[A-Za-z0-9+/]{11,}\$[A-Za-z0-9+/]{16,}"
    )
    kind, form = "argon2id", "argon2id hash of version 19"

    @override
    def matches(self, password: bytes) -> bool:
        import argon2  # noqa: PLC0415 - imported where it is used

        try:
            return argon2.PasswordHasher().verify(self.text, password)
        except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
            return False


class BcryptHash(_PackageHash):
    """A bcrypt hash, as htpasswd -B makes them; like every bcrypt it looks at 72 bytes of the password."""

    pattern = re.compile(r"\$2[aby]\$(0[4-9]|[12][0-9]|3[01])\$[./A-Za-z0-9]{53}")
    kind, form = "bcrypt", "bcrypt hash"

    @override
    def matches(self, password: bytes) -> bool:
        import bcrypt  # noqa: PLC0415 - as above

        try:
            return bcrypt.checkpw(password[:BCRYPT_LENGTH], self.text.encode())
        except ValueError:  # a NUL in the password, for some versions; a salt that no bcrypt makes
            return False


@dataclass(frozen=True, slots=True, kw_only=True)
class ScryptHash(PasswordHash):
    """A scrypt hash in the form that passlib made usual."""

    ln: int  # log2 of N
    r: int
    p: int
    salt: bytes = field(repr=False)
    digest: bytes = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> "ScryptHash":
        """Read one. Raises ValueError."""
        match = _SCRYPT.fullmatch(text)
        if match is None:
            raise ValueError("not a whole scrypt hash")
        ln, r, p = int(match[1]), int(match[2]), int(match[3])
        if ln >= 16 * r:  # RFC 7914, section 6
            raise ValueError("not a scrypt hash that can be: its N is too large for its r")
        if 128 * r * (2**ln + p) > SCRYPT_MEMORY:
            raise ValueError("a scrypt hash that takes more than 1 GiB to check")
        return cls(ln=ln, r=r, p=p, salt=_from_base64(match[4]), digest=_from_base64(match[5]))

    @property
    @override
    def cost(self) -> str:
        return f"scrypt {self.ln} {self.r} {self.p}"

    def derive(self, password: bytes) -> bytes:
        """Return what the password comes to with this salt and these parameters."""
        return hashlib.scrypt(
            password,
            salt=self.salt,
            n=2**self.ln,
            r=self.r,
            p=self.p,
            maxmem=SCRYPT_MEMORY + 2**24,  # OpenSSL counts some more for itself
            dklen=len(self.digest),
        )

    @override
    def matches(self, password: bytes) -> bool:
        return hmac.compare_digest(self.derive(password), self.digest)


KINDS: Final[dict[str, Callable[[str], PasswordHash]]] = {
    "$argon2id$": Argon2Hash.parse,
    "$2a$": BcryptHash.parse,
    "$2b$": BcryptHash.parse,
    "$2y$": BcryptHash.parse,
    "$scrypt$": ScryptHash.parse,
}


def parse_hash(text: str) -> PasswordHash:
    """Read a hash of any kind that we know. Raises ValueError, which never quotes `text`."""
    for prefix, parse in KINDS.items():
        if text.startswith(prefix):
            return parse(text)
    raise ValueError("not a hash of a kind that socks6 knows (argon2id, bcrypt, scrypt)")


def hash_password(password: str) -> str:
    """Return a new argon2id hash of a password, at the cost that OWASP gives.

    A proxy checks many users' passwords at once, when they return after a restart. Raises ConfigurationError for a
    password that no client could send.
    """
    import argon2  # noqa: PLC0415 - as above

    return argon2.PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1).hash(
        encode_password(password)
    )


def encode_password(password: str) -> bytes:
    """Return a password as clients send it. Raises ConfigurationError if they cannot."""
    try:
        secret = password.encode()
    except UnicodeEncodeError:
        raise ConfigurationError("the password is not text") from None
    if not 1 <= len(secret) <= MAX_PASSWORD_LENGTH:
        raise ConfigurationError(f"a password has 1 to {MAX_PASSWORD_LENGTH} bytes, not {len(secret)}")
    return secret


def _from_base64(text: str) -> bytes:
    try:
        return b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        raise ValueError("not a whole scrypt hash") from None
