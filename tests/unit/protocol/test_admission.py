from collections.abc import Callable, Mapping

import pytest
from typing_extensions import override

from socks6.errors import DecodeError
from socks6.message.codes import Method
from socks6.message.options import (
    AuthenticationData,
    AuthenticationMethodAdvertisement,
    AuthenticationMethodSelection,
    Option,
)
from socks6.message.userpass import UsernamePassword
from socks6.protocol.admission import (
    MAX_NEGOTIATION,
    Admission,
    AdmissionRefused,
    CredentialsPending,
    Granted,
    MethodSelected,
)
from socks6.protocol.methods.base import ServerMethod
from socks6.protocol.methods.userpass import UsernamePasswordCredentials, UsernamePasswordServer
from tests.kit import two_stage
from tests.kit.challenge import FIRST, NUMBER, SECOND, ChallengeCredentials, ChallengeServer, answer

METHODS: Mapping[int, Callable[[], ServerMethod]] = {2: UsernamePasswordServer, NUMBER: ChallengeServer}
RIGHT = AuthenticationData(method=2, data=b"\x01\x00")
WRONG = AuthenticationData(method=2, data=b"\x01\x01")


def offer(name: str) -> AuthenticationData:
    return AuthenticationData(
        method=2, data=UsernamePassword(username=name.encode(), password=b"pw").encode()
    )


def offered(name: str) -> CredentialsPending:
    return CredentialsPending(credentials=UsernamePasswordCredentials(username=name.encode(), password=b"pw"))


def advertise(*methods: int) -> AuthenticationMethodAdvertisement:
    return AuthenticationMethodAdvertisement(methods=methods, initial_data_length=7)


def admission(*, required: bool = True) -> Admission:
    return Admission(METHODS, required=required)


def slow() -> Admission:
    """Return one whose slow method has been selected and has spoken."""
    judge = admission()
    judge.begin((advertise(NUMBER),))
    assert judge.data_to_send() == FIRST
    return judge


def test_the_banned_method_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="banned"):
        Admission({Method.SSL: ChallengeServer}, required=True)


def test_nothing_is_asked_where_nothing_is_required() -> None:
    assert admission(required=False).begin(()) == Granted()


def test_who_says_nothing_is_refused_where_something_is_required() -> None:
    assert admission().begin(()) == AdmissionRefused(options=(), reason="no credentials")


def test_right_credentials_settle_it() -> None:
    judge = admission()
    assert judge.begin((offer("alice"),)) == offered("alice")
    assert judge.verified(accepted=True) == Granted()
    assert judge.reply_options(accepted=True) == (RIGHT,)


def test_wrong_credentials_are_refused_with_the_methods_own_answer() -> None:
    judge = admission()
    judge.begin((offer("alice"),))
    assert judge.verified(accepted=False) == AdmissionRefused(options=(WRONG,), reason="wrong credentials")


def test_of_several_offers_one_that_holds_is_enough() -> None:
    judge = admission()
    assert judge.begin((offer("alice"), offer("bob"))) == offered("alice")
    assert judge.verified(accepted=False) == offered("bob")
    assert judge.verified(accepted=True) == Granted()


@pytest.mark.parametrize(
    "useless",
    [
        AuthenticationData(method=9, data=b"abc"),
        AuthenticationData(method=2, data=b"rubbish"),
        AuthenticationData(method=NUMBER, data=b"no proof"),
    ],
    ids=["unknown method", "impossible body", "proves nothing"],
)
def test_an_offer_that_says_nothing_is_passed_over(useless: Option) -> None:
    assert admission().begin((useless, offer("alice"))) == offered("alice")


def test_an_advertised_slow_method_is_selected() -> None:
    judge = admission()
    assert judge.begin((advertise(2, NUMBER),)) == MethodSelected(
        options=(AuthenticationMethodSelection(method=NUMBER),), initial_data_length=7
    )
    assert judge.data_to_send() == FIRST


def test_a_method_that_is_not_offered_here_cannot_be_selected() -> None:
    none = AuthenticationMethodSelection(method=Method.NO_ACCEPTABLE)
    assert admission().begin((advertise(2, 9),)) == AdmissionRefused(
        options=(none,), reason="no acceptable method"
    )


def test_a_slow_exchange_ends_in_credentials() -> None:
    judge = slow()
    assert judge.bytes_wanted() == 1
    assert judge.receive_data(b"\x05alice") is None
    assert judge.data_to_send() == SECOND
    right = ChallengeCredentials(name=b"alice", right=True)
    assert judge.receive_data(answer(FIRST + SECOND) + b"GET") == right
    assert judge.unread() == b"GET"
    assert judge.verified(accepted=True) == Granted()
    assert judge.reply_options(accepted=True) == ()


def test_a_slow_exchange_that_proves_nothing_is_refused() -> None:
    assert slow().verified(accepted=False) == AdmissionRefused(options=(), reason="wrong credentials")


def test_bytes_that_cannot_be_the_methods_name_it() -> None:
    with pytest.raises(DecodeError, match="method 128: empty name"):
        slow().receive_data(b"\x00")


class Endless(ChallengeServer):
    """Takes bytes for ever."""

    @override
    def receive_data(self, data: bytes) -> None:
        return None


def test_a_slow_exchange_is_bounded() -> None:
    judge = Admission({NUMBER: Endless}, required=True)
    judge.begin((advertise(NUMBER),))
    assert judge.receive_data(bytes(MAX_NEGOTIATION)) is None
    with pytest.raises(DecodeError, match="method 128: more than 65536 bytes"):
        judge.receive_data(b"x")


def test_a_method_that_is_selected_goes_on_with_what_was_offered_and_may_answer_at_once() -> None:
    judge = Admission({2: UsernamePasswordServer, two_stage.NUMBER: two_stage.TwoStageServer}, required=True)
    told = AuthenticationData(method=two_stage.NUMBER, data=b"\x05alice\0\0")
    challenge = AuthenticationData(method=two_stage.NUMBER, data=two_stage.CHALLENGE)
    assert judge.begin((told, advertise(two_stage.NUMBER))) == MethodSelected(
        options=(AuthenticationMethodSelection(method=two_stage.NUMBER), challenge), initial_data_length=7
    )
    proof = two_stage.answer(b"secret", two_stage.CHALLENGE)
    assert judge.receive_data(proof) == two_stage.TwoStageCredentials(name=b"alice", right=True)
    assert judge.verified(accepted=True) == Granted()
    (closing,) = judge.reply_options(accepted=True)
    assert closing == AuthenticationData(
        method=two_stage.NUMBER, data=two_stage.counter_proof(b"secret", two_stage.CHALLENGE)
    )


def test_what_a_method_is_told_wrongly_it_forgets() -> None:
    judge = Admission({two_stage.NUMBER: two_stage.TwoStageServer}, required=True)
    judge.begin((AuthenticationData(method=two_stage.NUMBER, data=b"\x05alic"), advertise(two_stage.NUMBER)))
    proof = two_stage.answer(b"secret", two_stage.CHALLENGE)
    assert judge.receive_data(proof) == two_stage.TwoStageCredentials(name=b"", right=False)
