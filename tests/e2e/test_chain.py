"""Proxies behind proxies."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.origins import PAGE, refusing_place, web_site
from tests.kit.proxies import Proxy, converter, curl, server

pytestmark = pytest.mark.e2e


@contextlib.contextmanager
def chain(folder: Path) -> Iterator[tuple[Proxy, Proxy, Proxy]]:
    """Give three proxies of as many kinds, each reached through the next; clients come to the first."""
    with (
        server("--user", "carol:123456") as last,
        server(
            "--listen", f"socks6+unix://{folder}/middle.sock", "--via", last.as_user("carol", "123456")
        ) as middle,
        converter(middle.url) as first,
    ):
        yield first, middle, last


def test_a_chain_of_three_leads_to_a_page(tmp_path: Path) -> None:
    with web_site() as site, chain(tmp_path) as (first, _, _):
        assert curl("--socks5-hostname", first.authority, f"http://localhost:{site.port}").body == PAGE


def test_a_chain_tells_exactly_what_happened_at_its_end(tmp_path: Path) -> None:
    with refusing_place() as nobody, chain(tmp_path) as (first, _, _):
        fetched = curl("--socks5", first.authority, f"http://{nobody.host}:{nobody.port}")
    assert "(5)" in fetched.complaint, fetched


def test_a_broken_chain_is_a_general_failure_until_it_is_mended(tmp_path: Path) -> None:
    middle_url = f"socks6+unix://{tmp_path}/middle.sock"
    with web_site() as site, server() as last, converter(middle_url) as first:
        assert "(1)" in curl("--socks5", first.authority, site.url).complaint
        with server("--listen", middle_url, "--via", last.url):
            assert curl("--socks5", first.authority, site.url).body == PAGE
        assert "(1)" in curl("--socks5", first.authority, site.url).complaint


def test_what_the_last_proxy_forbids_is_told_to_the_client(tmp_path: Path) -> None:
    with web_site() as site, server("--no-allow-private") as last, converter(last.url) as first:
        assert "(2)" in curl("--socks5", first.authority, site.url).complaint
        assert curl("--proxy", f"http://{first.authority}", site.url).status == 403
