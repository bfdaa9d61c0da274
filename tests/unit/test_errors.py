"""The exceptions: which reply code is which class, and which built-in class also catches it."""

import copy
import errno
import inspect
import pickle
import re
from typing import Final

import pytest

from socks6 import errors
from socks6.errors import ConnectionRefused, OperationFailed, Socks6Error, TtlExpired, operation_failure

CLASSES: Final = [
    thing for _, thing in inspect.getmembers(errors, inspect.isclass) if thing.__module__ == errors.__name__
]

REPLIES: Final[list[tuple[int, type[OperationFailed], type[OSError], int]]] = [
    (0x01, errors.GeneralFailure, OSError, errno.EIO),
    (0x02, errors.NotAllowed, PermissionError, errno.EACCES),
    (0x03, errors.NetworkUnreachable, OSError, errno.ENETUNREACH),
    (0x04, errors.HostUnreachable, OSError, errno.EHOSTUNREACH),
    (0x05, errors.ConnectionRefused, ConnectionRefusedError, errno.ECONNREFUSED),
    (0x06, errors.TtlExpired, OSError, errno.EHOSTUNREACH),
    (0x07, errors.CommandNotSupported, OSError, errno.EOPNOTSUPP),
    (0x08, errors.AddressTypeNotSupported, OSError, errno.EAFNOSUPPORT),
    (0x09, errors.ConnectionTimedOut, TimeoutError, errno.ETIMEDOUT),
]


@pytest.mark.parametrize(("code", "expected", "builtin", "number"), REPLIES)
def test_reply_code_gives_its_own_class(
    code: int, expected: type[OperationFailed], builtin: type[OSError], number: int
) -> None:
    failure = operation_failure(code, "no luck")

    assert type(failure) is expected
    assert isinstance(failure, builtin)
    assert (failure.code, failure.errno, failure.reason) == (code, number, "no luck")


def test_unknown_reply_code_is_kept() -> None:
    failure = operation_failure(0xEE, "odd")

    assert type(failure) is OperationFailed
    assert failure.code == 0xEE


def test_failure_without_a_code_has_that_of_its_class() -> None:
    assert errors.NotAllowed("policy").code == 0x02


def test_failure_tells_its_reason() -> None:
    assert "no route today" in str(errors.NetworkUnreachable("no route today"))


@pytest.mark.parametrize("code", [code for code, *_ in REPLIES] + [0xEE])
def test_failure_of_any_code_is_an_os_error_of_ours(code: int) -> None:
    failure = operation_failure(code, "x")

    assert isinstance(failure, OSError)
    assert isinstance(failure, Socks6Error)


@pytest.mark.parametrize(
    ("ours", "builtin"),
    [
        (errors.ConfigurationError, ValueError),
        (errors.DecodeError, ValueError),
        (errors.AuthenticationFailed, PermissionError),
        (errors.ProxyUnreachable, ConnectionError),
    ],
)
def test_builtin_class_catches_ours_too(ours: type[Socks6Error], builtin: type[Exception]) -> None:
    assert issubclass(ours, builtin)


def test_version_mismatch_is_the_peer_s_fault() -> None:
    assert issubclass(errors.VersionMismatch, errors.RemoteProtocolError)


def test_everything_raised_on_purpose_has_one_root() -> None:
    assert all(issubclass(thing, Socks6Error) for thing in CLASSES)


def test_tree_in_the_documentation_names_every_class() -> None:
    drawn = re.findall(r"^\W*(\w+)", (errors.__doc__ or "").partition("::")[2], re.MULTILINE)

    assert sorted(drawn) == sorted(thing.__name__ for thing in CLASSES if not thing.__name__.startswith("_"))


@pytest.mark.parametrize(
    ("code", "number"),
    [
        (1, errno.ENETUNREACH),
        (2, errno.EHOSTUNREACH),
        (3, errno.EHOSTUNREACH),
        (4, errno.EMSGSIZE),
        (9, errno.EIO),
    ],
)
def test_a_failed_datagram_has_the_number_that_the_kernel_would_give_it(code: int, number: int) -> None:
    error = errors.DatagramFailed(host="192.0.2.5", port=53, code=code, reporter="10.0.0.1")

    assert (error.errno, error.host, error.port, error.code) == (number, "192.0.2.5", 53, code)
    assert "10.0.0.1" in str(error)


def test_a_datagram_that_is_too_large_has_the_kernels_number() -> None:
    error = errors.DatagramTooLarge(70_000, 65_507)

    assert (error.errno, error.size, error.limit) == (errno.EMSGSIZE, 70_000, 65_507)


@pytest.mark.parametrize(
    "error",
    [
        ConnectionRefused("nobody"),
        operation_failure(77, "odd"),
        TtlExpired("far", reporter="192.0.2.1"),
        errors.DatagramFailed(host="192.0.2.5", port=53, code=2, reporter="10.0.0.1"),
        errors.DatagramTooLarge(70_000, 65_507),
    ],
)
def test_a_failure_survives_being_copied_and_sent_to_another_process(error: Socks6Error) -> None:
    for twin in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert type(twin) is type(error)
        assert (str(twin), vars(twin)) == (str(error), vars(error))


@pytest.mark.parametrize(
    ("error", "number"),
    [
        (errors.AuthenticationFailed, errno.EACCES),
        (errors.TokenRejected, errno.ECONNABORTED),
        (errors.ProxyUnreachable, errno.ECONNRESET),
        (errors.ProxyTimedOut, errno.ETIMEDOUT),
        (errors.CertificateRefused, errno.EPROTO),
    ],
)
def test_errors_about_the_proxy_have_a_number_beside_their_words(error: type[OSError], number: int) -> None:
    raised = error("no luck")
    assert (raised.errno, str(raised)) == (number, "no luck")


def test_the_number_of_a_cause_goes_before_that_of_the_class() -> None:
    assert errors.ProxyUnreachable("no luck", errno=errno.ECONNREFUSED).errno == errno.ECONNREFUSED
