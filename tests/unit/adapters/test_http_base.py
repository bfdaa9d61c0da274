"""httpcore's exceptions become httpx's of the same name; what is ours is their cause."""

import httpcore
import httpx
import pytest

from socks6 import HostUnreachable, RemoteProtocolError
from socks6.adapters.http_base import connect_failures, http_failures, stream_failures


@pytest.mark.parametrize("name", ["ReadTimeout", "PoolTimeout", "RemoteProtocolError", "UnsupportedProtocol"])
def test_names_are_the_same(name: str) -> None:
    with pytest.raises(getattr(httpx, name), match="words") as caught, http_failures(httpx):
        raise getattr(httpcore, name)("words")
    assert type(caught.value.__cause__) is getattr(httpcore, name)


def test_what_is_no_exception_of_httpcore_stays() -> None:
    with pytest.raises(ZeroDivisionError), http_failures(httpx):
        raise ZeroDivisionError


def test_causes_survive_the_pool_that_hides_them() -> None:
    def pool() -> None:
        try:
            with connect_failures(httpcore):
                raise HostUnreachable("no such host")
        except httpcore.ConnectError as error:
            raise error from None

    with pytest.raises(httpx.ConnectError) as caught, http_failures(httpx):
        pool()
    assert isinstance(caught.value.__cause__, HostUnreachable)


def test_failures_of_connecting_and_of_streams() -> None:
    for error, kind in (
        (RemoteProtocolError("rubbish"), httpcore.ProxyError),
        (TimeoutError(), httpcore.ConnectTimeout),
        (ConnectionResetError(), httpcore.ConnectError),
    ):
        with pytest.raises(kind), connect_failures(httpcore):
            raise error
    with pytest.raises(httpcore.WriteTimeout), stream_failures(httpcore, "Write"):
        raise TimeoutError
    with pytest.raises(httpcore.ReadError), stream_failures(httpcore, "Read"):
        raise ConnectionResetError
