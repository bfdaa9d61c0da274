"""What makes a client's requests."""

import subprocess
import sys

import pytest

from socks6.client.client import Client
from socks6.client.direct_requester import DirectRequester, ExcludingRequester
from socks6.client.older_requester import OlderRequester
from socks6.client.requester import Requester, RequestMaker
from socks6.client.resolving_requester import ResolvingRequester


@pytest.mark.parametrize(
    ("url", "no_proxy", "kinds"),
    [
        ("socks6://h", "", [Requester]),
        ("socks6+tls://h?resolve=local", "", [ResolvingRequester, Requester]),
        ("socks5://h", "a", [ExcludingRequester, OlderRequester]),
        ("socks4://h", "a", [ExcludingRequester, ResolvingRequester, OlderRequester]),
        ("https://h", "", [OlderRequester]),
        ("direct://", "a", [DirectRequester]),
        ("direct://?resolve=local", "", [DirectRequester]),
    ],
)
def test_layers_follow_from_the_url(url: str, no_proxy: str, kinds: list[type]) -> None:
    found: list[type] = []
    requester: RequestMaker | None = Client(url, no_proxy=no_proxy)._requester
    while requester is not None:
        found.append(type(requester))
        requester = getattr(requester, "proxy", None) or getattr(requester, "_requester", None)
    assert found == kinds


def test_a_client_of_socks6_loads_nothing_of_the_others() -> None:
    program = "import sys, socks6; socks6.Client('socks6://h'); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True)
    names = {name for name in loaded.stdout.split() if name.startswith("socks6.")}
    assert not [
        name for name in names if "older" in name or name.endswith((".http", ".socks4", ".environment"))
    ]
