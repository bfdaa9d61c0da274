"""Password hashes."""

import bcrypt
import pytest

from socks6.errors import ConfigurationError
from socks6.proxy.authentication.hashes import (
    Argon2Hash,
    BcryptHash,
    PlainSecret,
    ScryptHash,
    encode_password,
    hash_password,
    parse_hash,
)

# "correct horse", made once: hashes made anew would give each run other tests
ARGON2 = "$argon2id$v=19$m=8,t=1,p=1$fADZZtIGZzGQinBStnk6JQ$PYHZj+MfMU+xfgyRJmHf7Z+uanDZkSMl1XVHBNYWZFY"
BCRYPT = "$2b$04$5gvQ3V4XxlE397/ad.z.uePr7MVYy.ehqNaM.BRMzVDVtTAC0LzpS"
# The example of passlib's documentation
SCRYPT = "$scrypt$ln=8,r=8,p=1$WKs1xljLudd6z9kbY0wpJQ$yCR4iDZYDKv+iEJj6yHY0lv/epnfB6f/w1EbXrsJOuQ"


@pytest.mark.parametrize(
    "text", [ARGON2, BCRYPT, BCRYPT.replace("$2b$", "$2y$"), BCRYPT.replace("$2b$", "$2a$")]
)
def test_a_hash_knows_its_password(text: str) -> None:
    hashed = parse_hash(text)
    assert hashed.matches(b"correct horse")
    assert not hashed.matches(b"correct Horse")
    assert not hashed.matches(b"")


def test_a_scrypt_hash_of_passlib_is_read() -> None:
    assert parse_hash(SCRYPT).matches(b"password")
    assert not parse_hash(SCRYPT).matches(b"Password")


def test_a_plain_secret_knows_its_password() -> None:
    secret = PlainSecret.of(b"correct horse")
    assert secret.matches(b"correct horse")
    assert not secret.matches(b"correct horses")


def test_equal_plain_secrets_look_different() -> None:
    assert PlainSecret.of(b"same").digest != PlainSecret.of(b"same").digest


def test_no_hash_shows_itself() -> None:
    assert repr(PlainSecret.of(b"secret")) == "PlainSecret()"
    assert "$" not in repr(BcryptHash.parse(BCRYPT))
    assert ARGON2 not in repr(Argon2Hash.parse(ARGON2))
    assert "salt" not in repr(ScryptHash.parse(SCRYPT))


def test_only_slow_hashes_have_a_cost() -> None:
    assert PlainSecret.of(b"x").cost == ""
    assert {parse_hash(text).cost for text in (ARGON2, BCRYPT, SCRYPT)} == {
        "argon2id v=19$m=8,t=1,p=1",
        "bcrypt 04",
        "scrypt 8 8 1",
    }


@pytest.mark.parametrize(
    "text",
    [
        "",
        "secret",
        "$apr1$abcdefgh$0123456789012345678901",
        "{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=",
        ARGON2[:-30],
        ARGON2.replace("argon2id", "argon2i"),
        ARGON2.replace("v=19", "v=16"),
        ARGON2 + "\n",
        BCRYPT[:-1],
        BCRYPT.replace("$04$", "$03$"),
        BCRYPT + "x",
        SCRYPT.replace("ln=8", "ln=0"),
        SCRYPT.replace("p=1", "p=x"),
        SCRYPT.replace("ln=8,r=8", "ln=16,r=1"),
        SCRYPT.replace("wpJQ$", "wpJ$"),
    ],
)
def test_what_is_no_hash_is_refused_without_being_quoted(text: str) -> None:
    with pytest.raises(ValueError, match="not a") as raised:
        parse_hash(text)
    assert len(text) < 2 or text not in str(raised.value)


def test_a_scrypt_hash_that_takes_all_memory_is_refused() -> None:
    with pytest.raises(ValueError, match="more than 1 GiB"):
        parse_hash(SCRYPT.replace("ln=8", "ln=30"))


def test_a_broken_hash_of_the_right_form_matches_nothing() -> None:
    salt, _ = ARGON2.rsplit("$", 1)
    assert not parse_hash(f"{salt}${'A' * 17}").matches(b"correct horse")


def test_bcrypt_looks_at_72_bytes() -> None:
    hashed = parse_hash(bcrypt.hashpw(b"x" * 72, bcrypt.gensalt(4)).decode())
    assert hashed.matches(b"x" * 255)
    assert not hashed.matches(b"x" * 71)


def test_a_bcrypt_salt_that_cannot_be_matches_nothing() -> None:
    assert not parse_hash("$2b$04$" + "." * 21 + "9" + "." * 31).matches(b"anything")


def test_a_nul_in_a_password_does_no_harm() -> None:
    assert not parse_hash(BCRYPT).matches(b"correct horse\x00")


def test_new_hashes_are_argon2id() -> None:
    text = hash_password("correct horse")
    assert text.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert parse_hash(text).matches(b"correct horse")


@pytest.mark.parametrize(
    ("password", "complaint"),
    [("", "not 0"), ("x" * 256, "not 256"), ("ü" * 128, "not 256"), ("\ud800", "is not text")],
)
def test_a_password_that_cannot_be_sent_is_refused(password: str, complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        encode_password(password)
