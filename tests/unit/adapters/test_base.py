"""Adapters own the clients that they make of URLs, and those alone; failures are of three kinds."""

import asyncio

import pytest
from typing_extensions import override

from socks6 import Client, errors
from socks6.adapters.base import AdapterClient, FailureKind, failure_of, missing, os_error
from socks6.errors import Socks6Error


def test_only_a_client_of_its_own_is_entered_and_closed() -> None:
    entered: list[str] = []

    class Watched(Client):
        @override
        async def __aenter__(self) -> Client:
            entered.append("in")
            return await super().__aenter__()

    async def main() -> None:
        own, given = AdapterClient("socks6://proxy.example"), Watched("socks6://proxy.example")
        assert await own.enter() is await own.enter()
        assert await AdapterClient(given).enter() is given
        assert not entered
        for _ in range(2):
            await own.aclose()

    asyncio.run(main())
    with pytest.raises(RuntimeError, match="asyncio"):
        AdapterClient("socks6://proxy.example").enter().send(None)


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (errors.ProxyTimedOut("x"), FailureKind.TIMEOUT),
        (errors.ConnectionTimedOut("x"), FailureKind.TIMEOUT),
        *((kind("x"), FailureKind.REMOTE) for kind in (errors.ConnectionRefused, errors.HostUnreachable)),
        *((kind("x"), FailureKind.REMOTE) for kind in (errors.NetworkUnreachable, errors.TtlExpired)),
        *((kind("x"), FailureKind.PROXY) for kind in (errors.NotAllowed, errors.AuthenticationFailed)),
        *((kind("x"), FailureKind.PROXY) for kind in (errors.GeneralFailure, errors.ProxyUnreachable)),
        (errors.RemoteProtocolError("x"), FailureKind.PROXY),
    ],
)
def test_who_failed(error: Socks6Error, failure: FailureKind) -> None:
    assert failure_of(error) is failure
    assert os_error(error).strerror == "x"


def test_what_is_missing_is_named_with_what_installs_it() -> None:
    assert "pip install 'pysocks6[httpx]'" in str(missing("httpx", "httpx"))
