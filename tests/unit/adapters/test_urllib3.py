"""urllib3's pools connect through a proxy, and its users get urllib3's exceptions."""

import pytest
import urllib3
from urllib3.exceptions import ConnectTimeoutError, MaxRetryError, NewConnectionError, ProxyError, SSLError

import socks6.sync
from socks6 import AuthenticationFailed, ConnectionRefused
from socks6.adapters.urllib3 import ProxyManager
from tests.kit.adapted import PROXIES, Adapted


@pytest.mark.parametrize("kind", PROXIES)
def test_every_proxy_carries_it_and_refuses_a_wrong_password(world: Adapted, kind: str) -> None:
    with ProxyManager(world.url(kind), ca_certs=world.site.ca_file) as manager:
        for _ in range(2):
            assert manager.request("GET", f"{world.site.url}/version").data == b"1.1"
        pool = manager.connection_from_url(world.site.url)
        assert pool.num_connections == 1
        with pytest.raises(urllib3.exceptions.ReadTimeoutError):
            manager.request("GET", f"{world.site.url}/slow", timeout=0.1, retries=False)
    with ProxyManager(world.wrong_password(kind), retries=False) as manager:
        with pytest.raises(ProxyError) as caught:
            manager.request("GET", world.site.url)
        assert isinstance(caught.value.original_error, AuthenticationFailed)


def test_failures_are_urllib3s_own(world: Adapted) -> None:
    with socks6.sync.Client(world.url("socks6")) as client:
        manager = ProxyManager(client, retries=urllib3.Retry(1, backoff_factor=0))
        for url, kind in (
            (f"http://127.0.0.1:{world.refusing.port}", NewConnectionError),
            (f"http://127.0.0.1:{world.silent.port}", ConnectTimeoutError),
            (world.site.url, SSLError),
        ):
            with pytest.raises(MaxRetryError) as caught:
                manager.request("GET", url, timeout=urllib3.Timeout(connect=0.2, read=5))
            assert type(caught.value.reason) is kind
            if kind is NewConnectionError:
                assert isinstance(caught.value.reason.__cause__, ConnectionRefused)
        manager.clear()
        assert client.noop() > 0  # it is its maker's
