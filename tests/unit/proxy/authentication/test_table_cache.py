"""Recent proofs."""

from socks6.proxy.authentication.table import CredentialCache


def test_a_proof_is_remembered_for_a_while() -> None:
    proofs = CredentialCache(seconds=10.0, size=4)
    digest = proofs.digest(b"alice", b"secret")
    assert not proofs.holds(digest, 0.0)
    proofs.add(digest, 0.0)
    assert proofs.holds(digest, 9.9)
    assert not proofs.holds(digest, 10.0)
    assert len(proofs) == 0


def test_looking_does_not_prolong_it() -> None:
    proofs = CredentialCache(seconds=10.0, size=4)
    proofs.add(b"a", 0.0)
    assert proofs.holds(b"a", 9.0)
    assert not proofs.holds(b"a", 12.0)


def test_the_oldest_is_forgotten_first() -> None:
    proofs = CredentialCache(seconds=10.0, size=2)
    for digest in (b"a", b"b", b"a", b"c"):
        proofs.add(digest, 0.0)
    assert [proofs.holds(digest, 1.0) for digest in (b"a", b"b", b"c")] == [True, False, True]
    assert len(proofs) == 2


def test_names_and_passwords_do_not_run_together() -> None:
    proofs = CredentialCache(seconds=10.0, size=2)
    assert proofs.digest(b"ab", b"c") != proofs.digest(b"a", b"bc")


def test_a_digest_means_nothing_elsewhere() -> None:
    one, other = (CredentialCache(seconds=10.0, size=2) for _ in range(2))
    assert one.digest(b"alice", b"secret") != other.digest(b"alice", b"secret")


def test_a_proof_is_worth_nothing_against_another_hash() -> None:
    proofs = CredentialCache(seconds=10.0, size=2)
    proofs.add(b"a", 0.0, against="one")
    assert proofs.holds(b"a", 1.0, against="one")
    assert not proofs.holds(b"a", 1.0, against="other")
    assert not proofs.holds(b"a", 1.0, against="one")  # it is forgotten
