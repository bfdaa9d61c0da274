"""Options about authentication, one by one."""

import pytest

from socks6.errors import DecodeError
from socks6.message.buffer import Reader
from socks6.message.options import (
    MAX_INITIAL_DATA,
    AuthenticationData,
    AuthenticationMethodAdvertisement,
    AuthenticationMethodSelection,
)


def advertised(text: str) -> AuthenticationMethodAdvertisement:
    return AuthenticationMethodAdvertisement.decode_body(Reader(bytes.fromhex(text)))


def test_an_advertisement_becomes_bytes() -> None:
    option = AuthenticationMethodAdvertisement(methods=(1, 2, 3), initial_data_length=100)
    assert option.encode_body() == bytes.fromhex("0064 010203")


def test_bytes_become_an_advertisement() -> None:
    assert advertised("0064 010203") == AuthenticationMethodAdvertisement(
        methods=(1, 2, 3), initial_data_length=100
    )


def test_padding_is_no_method() -> None:
    assert advertised("0064 010203 000000").methods == (1, 2, 3)


def test_method_0_is_never_told_from_padding() -> None:
    assert advertised("0000 00 02 00 01").methods == (2, 1)


def test_a_method_advertised_twice_counts_once() -> None:
    assert advertised("0000 02 01 02").methods == (2, 1)


def test_no_method_at_all_may_be_advertised() -> None:
    assert advertised("0010 0000") == AuthenticationMethodAdvertisement(methods=(), initial_data_length=16)


def test_too_much_initial_data_can_be_read_off() -> None:
    assert advertised("4001 02").initial_data_length == MAX_INITIAL_DATA + 1


def test_too_much_initial_data_is_not_written() -> None:
    with pytest.raises(ValueError, match="16385, not 0 to 16384"):
        AuthenticationMethodAdvertisement(methods=(), initial_data_length=16385).encode_body()


def test_the_most_initial_data() -> None:
    option = AuthenticationMethodAdvertisement(methods=(), initial_data_length=16384)
    assert option.encode_body() == bytes.fromhex("4000")


@pytest.mark.parametrize("text", ["", "00"])
def test_an_advertisement_without_initial_data_length_is_impossible(text: str) -> None:
    with pytest.raises(DecodeError):
        advertised(text)


@pytest.mark.parametrize("methods", [(0,), (256,), (2, 2), (-1,)])
def test_impossible_methods_are_the_callers_error(methods: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="method"):
        AuthenticationMethodAdvertisement(methods=methods)


@pytest.mark.parametrize("length", [-1, 65536])
def test_impossible_initial_data_is_the_callers_error(length: int) -> None:
    with pytest.raises(ValueError, match="initial data length"):
        AuthenticationMethodAdvertisement(methods=(), initial_data_length=length)


def test_a_selection_becomes_bytes() -> None:
    assert AuthenticationMethodSelection(method=2).encode_body() == bytes.fromhex("02")


@pytest.mark.parametrize(("text", "method"), [("02 000000", 2), ("ff 010203", 255), ("00", 0)])
def test_bytes_become_a_selection(text: str, method: int) -> None:
    option = AuthenticationMethodSelection.decode_body(Reader(bytes.fromhex(text)))
    assert option == AuthenticationMethodSelection(method=method)


def test_an_empty_selection_is_impossible() -> None:
    with pytest.raises(DecodeError):
        AuthenticationMethodSelection.decode_body(Reader(b""))


@pytest.mark.parametrize("method", [-1, 256])
def test_an_impossible_selection_is_the_callers_error(method: int) -> None:
    with pytest.raises(ValueError, match="method"):
        AuthenticationMethodSelection(method=method)


def test_authentication_data_becomes_bytes() -> None:
    assert AuthenticationData(method=2, data=b"abc").encode_body() == bytes.fromhex("02 616263")


def test_bytes_become_authentication_data_with_their_padding() -> None:
    option = AuthenticationData.decode_body(Reader(bytes.fromhex("02 0100 00")))
    assert option == AuthenticationData(method=2, data=bytes.fromhex("0100 00"))


def test_authentication_data_may_be_empty() -> None:
    option = AuthenticationData.decode_body(Reader(b"\x02"))
    assert option == AuthenticationData(method=2, data=b"")


def test_authentication_data_without_method_is_impossible() -> None:
    with pytest.raises(DecodeError):
        AuthenticationData.decode_body(Reader(b""))


@pytest.mark.parametrize(("method", "length"), [(-1, 0), (256, 0), (2, 20_476)])
def test_impossible_authentication_data_is_the_callers_error(method: int, length: int) -> None:
    with pytest.raises(ValueError, match="is"):
        AuthenticationData(method=method, data=bytes(length))


def test_authentication_data_is_not_shown() -> None:
    assert repr(AuthenticationData(method=2, data=b"secret")) == "AuthenticationData(method=2)"


def test_authentication_data_of_different_methods_claims_different_things() -> None:
    one, other = AuthenticationData(method=2, data=b""), AuthenticationData(method=3, data=b"")
    assert set(one.claims()).isdisjoint(other.claims())


def test_the_greatest_method() -> None:
    assert AuthenticationMethodAdvertisement(methods=(255,)).encode_body() == bytes.fromhex("0000 ff")
    assert AuthenticationData(method=255, data=b"").encode_body() == bytes.fromhex("ff")
