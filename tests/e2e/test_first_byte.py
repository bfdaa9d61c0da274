"""The benchmark of round trips asks as its rows say: none is quicker than the round trips that it ought to take."""

import pytest

from benchmarks.load.first_byte import measure
from benchmarks.load.round_trips.asking import REQUEST
from benchmarks.load.round_trips.rows import ROWS
from benchmarks.load.round_trips.site import site
from socks6.message.options import AuthenticationData, IdempotenceExpenditure, SessionId, find
from socks6.message.requests import Request
from tests.kit.link.cable import needs_links

pytestmark = [pytest.mark.e2e, needs_links]

DELAY, FAR_DELAY = 0.006, 0.003


def test_every_row_gets_its_answer_and_none_before_its_time() -> None:
    results = measure(DELAY, far_delay=FAR_DELAY, repeat=1)
    assert {row.name: row.failure for row in results.rows if row.failure} == {}
    early = {
        row.name: row.seconds
        for row in (results.ping, results.far_ping, *results.rows)
        if row.median < 2 * DELAY * row.near + 2 * FAR_DELAY * row.far
    }
    assert early == {}


def test_the_quickest_way_has_session_token_and_first_bytes_in_the_syn_and_no_password() -> None:
    quickest = next(row for row in ROWS if row.name == "socks6-token-tfo-tfo")
    with site(0.0, 0.0, only=["socks6-password"]) as made, made.client.entered(), quickest.way(made) as ask:
        ask()  # fetches cookies
        port = made.address("socks6-password")[1]
        with made.client.capturing() as near, made.proxy.capturing() as far:
            with made.client.entered():
                ask()
            (syn,), (far_syn,) = near.syns(port), far.syns(made.origin[1])
            later = [packet.payload for packet in near.to_port(port) if packet is not syn]
    request = Request.decode(syn.payload[: Request.size(syn.payload)])
    assert find(request.options, SessionId) is not None
    assert find(request.options, IdempotenceExpenditure) is not None
    assert find(request.options, AuthenticationData) is None
    assert syn.payload.endswith(REQUEST)
    assert b"".join(later) == b""
    assert far_syn.payload == REQUEST
