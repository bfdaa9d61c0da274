import pytest

from socks6.errors import GeneralFailure
from socks6.policy.identity import ANONYMOUS, Identity
from socks6.policy.user_limits import UserLimits
from socks6.proxy.limits import HolderLimits

ALICE, BOB = Identity(name="alice"), Identity(name="bob")


def limits(total: int = 3, per_holder: int = 2) -> HolderLimits:
    return HolderLimits("associations", total=total, per_holder=per_holder)


def test_a_user_has_as_many_as_he_may_from_anywhere() -> None:
    counted = limits()
    held = counted.enter(ALICE, "192.0.2.1")
    counted.enter(ALICE, "192.0.2.2")
    with pytest.raises(GeneralFailure, match="2 associations of alice already"):
        counted.enter(ALICE, "192.0.2.3")
    counted.enter(BOB, "192.0.2.1")
    with pytest.raises(GeneralFailure, match="3 associations already"):
        counted.enter(BOB, "192.0.2.1")
    counted.leave(held)
    counted.enter(ALICE, "192.0.2.1")
    assert counted.count == 3


def test_a_user_may_have_a_limit_of_its_own() -> None:
    counted = limits(total=0)
    alice = Identity(name="alice", limits=UserLimits(associations=3, bindings=1))
    for _ in range(3):
        counted.enter(alice, "")
    with pytest.raises(GeneralFailure, match="3 associations of alice already"):
        counted.enter(alice, "")
    bound = HolderLimits("listeners", total=0, per_holder=0, own="bindings")
    bound.enter(alice, "")
    with pytest.raises(GeneralFailure, match="1 listeners of alice already"):
        bound.enter(alice, "")
    bound.enter(BOB, "")


def test_who_has_no_name_is_his_source() -> None:
    counted = limits(total=0)
    for _ in range(2):
        counted.enter(ANONYMOUS, "2001:db8::1")
    with pytest.raises(GeneralFailure, match="2001:db8::/64"):
        counted.enter(ANONYMOUS, "2001:db8::2")
    counted.enter(ANONYMOUS, "192.0.2.1")


@pytest.mark.parametrize("source", ["127.0.0.1", "::1", ""])
def test_this_machines_own_clients_count_in_all_alone(source: str) -> None:
    counted = limits(total=5)
    for _ in range(5):
        counted.enter(ANONYMOUS, source)
    with pytest.raises(GeneralFailure):
        counted.enter(ANONYMOUS, source)


def test_zero_is_no_limit() -> None:
    counted = limits(total=0, per_holder=0)
    for _ in range(100):
        counted.enter(ALICE, "192.0.2.1")
    assert counted.count == 100


@pytest.mark.parametrize("source", ["127.0.0.1", ""])
def test_this_machines_own_clients_can_be_limited_too(source: str) -> None:
    counted = HolderLimits("listeners", total=0, per_holder=1, local_clients_too=True)
    held = counted.enter(ANONYMOUS, source)
    with pytest.raises(GeneralFailure, match="1 listeners of this machine already"):
        counted.enter(ANONYMOUS, source)
    counted.leave(held)
    counted.enter(ANONYMOUS, source)
