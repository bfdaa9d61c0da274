"""Recent proofs."""

from socks6.proxy.authentication.table import CredentialCache

HASH = "the hash"


class Clock:
    """A clock that stands still until it is set."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def cache(size: int = 4) -> tuple[CredentialCache, Clock]:
    clock = Clock()
    return CredentialCache(seconds=10.0, size=size, clock=clock), clock


def test_a_proof_is_remembered_for_a_while() -> None:
    proofs, clock = cache()
    digest = proofs.digest(b"alice", b"secret")
    assert not proofs.holds(digest, HASH)
    proofs.add(digest, HASH)
    clock.now = 9.9
    assert proofs.holds(digest, HASH)
    clock.now = 10.0
    assert not proofs.holds(digest, HASH)
    assert len(proofs) == 0


def test_looking_does_not_prolong_it() -> None:
    proofs, clock = cache()
    proofs.add(b"a", HASH)
    clock.now = 9.0
    assert proofs.holds(b"a", HASH)
    clock.now = 12.0
    assert not proofs.holds(b"a", HASH)


def test_the_oldest_is_forgotten_first() -> None:
    proofs, clock = cache(2)
    for digest in (b"a", b"b", b"a", b"c"):
        proofs.add(digest, HASH)
    clock.now = 1.0
    assert [proofs.holds(digest, HASH) for digest in (b"a", b"b", b"c")] == [True, False, True]
    assert len(proofs) == 2


def test_names_and_passwords_do_not_run_together() -> None:
    proofs, _ = cache()
    assert proofs.digest(b"ab", b"c") != proofs.digest(b"a", b"bc")


def test_a_digest_means_nothing_elsewhere() -> None:
    (one, _), (other, _) = cache(), cache()
    assert one.digest(b"alice", b"secret") != other.digest(b"alice", b"secret")


def test_a_proof_is_worth_nothing_against_another_hash() -> None:
    proofs, _ = cache()
    proofs.add(b"a", "one")
    assert proofs.holds(b"a", "one")
    assert not proofs.holds(b"a", "other")
    assert not proofs.holds(b"a", "one")  # it is forgotten


def test_no_digest_is_never_remembered() -> None:
    proofs, _ = cache()
    proofs.add(None, HASH)
    assert not proofs.holds(None, HASH)
    assert len(proofs) == 0
