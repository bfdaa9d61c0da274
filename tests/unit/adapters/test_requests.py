"""requests go through a proxy, whatever else names one, and its users get requests' exceptions."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from socks6 import AuthenticationFailed
from socks6.adapters.requests import Adapter, Session
from tests.kit.adapted import PROXIES, Adapted


@pytest.mark.parametrize("kind", PROXIES)
def test_every_proxy_carries_it(world: Adapted, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    with Session(world.url(kind)) as session:
        threads: set[int] = set()

        def fetch(_: int) -> str:
            threads.add(threading.get_ident())
            return session.get(f"{world.site.url}/version", timeout=10, verify=world.site.ca_file).text

        with ThreadPoolExecutor(4) as pool:
            assert set(pool.map(fetch, range(12))) == {"1.1"}
        body = bytes(range(256)) * 1000
        elsewhere = {"https": "http://127.0.0.1:9"}
        response = session.post(world.site.url, data=body, verify=world.site.ca_file, proxies=elsewhere)
        assert response.content == body


def test_failures_are_requests_own(world: Adapted) -> None:
    refusing, silent = (f"http://127.0.0.1:{place.port}" for place in (world.refusing, world.silent))
    for proxy, url, kind in (
        (world.url("socks6"), refusing, requests.ConnectionError),
        (world.url("socks6"), silent, requests.ConnectTimeout),
        (world.url("socks6"), world.site.url, requests.exceptions.SSLError),
        (world.wrong_password("socks6"), refusing, requests.exceptions.ProxyError),
        (f"socks6://127.0.0.1:{world.refusing.port}", refusing, requests.exceptions.ProxyError),
    ):
        with requests.Session() as session:
            session.mount(url, Adapter(proxy))
            with pytest.raises(requests.RequestException) as caught:
                session.get(url, timeout=(0.3, 5))
            assert type(caught.value) is kind, repr(caught.value)
    reason = caught.value.args[0].reason
    assert not isinstance(reason.original_error, AuthenticationFailed)
