"""A converter with two upstreams, of which one dies under load and comes back."""

import contextlib
import signal
import threading
from typing import Final

import pytest

from tests.e2e.test_converter_status import eventually, said, status_of
from tests.kit.origins import web_site
from tests.kit.proxies import converter, curl, server

pytestmark = pytest.mark.e2e

BROKE: Final = {52, 55, 56}  # curl's codes for a connection that breaks after the proxy has granted it


def state_of_first(status: dict[str, object]) -> str:
    upstreams = status["upstreams"]
    assert isinstance(upstreams, list)
    return str(upstreams[0]["state"])


def test_no_request_is_lost_that_had_not_begun_and_the_first_is_used_again() -> None:
    with contextlib.ExitStack() as first, web_site() as site, server() as spare:
        far = first.enter_context(server(ends_with=-signal.SIGKILL))
        near = first.enter_context(converter(f"{far.url}\n{spare.url}", "--via-check"))
        said(near, f"through {far.url}")
        codes: list[int] = []
        over = threading.Event()

        def load() -> None:
            while not over.is_set():
                codes.append(curl("--socks5-hostname", near.authority, site.url).code)

        loops = [threading.Thread(target=load) for _ in range(2)]
        for loop in loops:
            loop.start()
        try:
            eventually(lambda: "some" if len(codes) > 5 else "")
            far.process.send_signal(signal.SIGKILL)
            after = len(codes)
            eventually(lambda: "more" if len(codes) > after + 10 else "")
            status = status_of(near)
            assert state_of_first(status) == "down"
            assert status["upstream"]["url"] == spare.url
            with server("--listen", far.url):
                eventually(lambda: state_of_first(status_of(near)).replace("down", ""))
                assert status_of(near)["upstream"]["url"] == far.url
                over.set()
                for loop in loops:
                    loop.join()
        finally:
            over.set()
        assert {*codes} - {0} <= BROKE
        assert len(codes) - codes.count(0) <= len(loops)
