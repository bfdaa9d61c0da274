from math import inf

import pytest

from socks6.net.datagrams.filtering import Filtering, RemoteFilter

ANYBODY = Filtering.ENDPOINT_INDEPENDENT
HOSTS = Filtering.ADDRESS_DEPENDENT
PORTS = Filtering.ADDRESS_AND_PORT_DEPENDENT


@pytest.mark.parametrize(
    ("filtering", "same", "other_port", "other_host"),
    [(ANYBODY, True, True, True), (HOSTS, True, True, False), (PORTS, True, False, False)],
)
def test_who_may_send_after_the_client_has_sent_to_one(
    filtering: Filtering, same: bool, other_port: bool, other_host: bool
) -> None:
    remotes = RemoteFilter(filtering)
    remotes.sent_to("192.0.2.1", 53, 10.0)
    assert bool(remotes.admitted_until("192.0.2.1", 53, 11.0)) is same
    assert bool(remotes.admitted_until("192.0.2.1", 54, 11.0)) is other_port
    assert bool(remotes.admitted_until("192.0.2.2", 53, 11.0)) is other_host


def test_before_the_client_has_sent_only_a_full_cone_admits() -> None:
    admitted = {
        filtering: RemoteFilter(filtering).admitted_until("192.0.2.1", 53, 0.0) for filtering in Filtering
    }
    assert admitted == {ANYBODY: inf, HOSTS: 0.0, PORTS: 0.0}


@pytest.mark.parametrize("filtering", [HOSTS, PORTS])
def test_remotes_expire_unless_sent_to_again(filtering: Filtering) -> None:
    remotes = RemoteFilter(filtering, lifetime=300.0)
    remotes.sent_to("192.0.2.1", 53, 0.0)
    assert remotes.admitted_until("192.0.2.1", 53, 299.0) == 300.0
    remotes.sent_to("192.0.2.1", 53, 299.0)
    assert remotes.admitted_until("192.0.2.1", 53, 598.0) == 599.0
    assert remotes.admitted_until("192.0.2.1", 53, 599.0) == 0.0
    assert len(remotes._sent) == 0


def test_a_remote_in_use_is_renewed_in_time() -> None:
    assert RemoteFilter(HOSTS, lifetime=10.0).renewal == 5.0
    assert RemoteFilter(ANYBODY, lifetime=10.0).renewal == inf


def test_beyond_the_limit_the_one_sent_to_longest_ago_is_forgotten() -> None:
    remotes = RemoteFilter(HOSTS, most=2)
    for now, host in enumerate(["192.0.2.1", "192.0.2.2", "192.0.2.1", "192.0.2.3"]):
        remotes.sent_to(host, 53, float(now))
    assert not remotes.admitted_until("192.0.2.2", 53, 4.0)
    assert remotes.admitted_until("192.0.2.1", 53, 4.0)
    assert len(remotes._sent) == 2


def test_a_full_cone_remembers_nobody() -> None:
    remotes = RemoteFilter(ANYBODY)
    remotes.sent_to("192.0.2.1", 53, 0.0)
    assert len(remotes._sent) == 0
