"""Stack options as an operator meets them: socks6 ping --options, [[stack]], --copy-tos and --via-fast-open."""

import re
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.kit.netns import Namespace, Road, needs_namespaces, road
from tests.kit.origins import Place, refusing_place, web_site
from tests.kit.processes import socks6
from tests.kit.proxies import connect_request, converter, curl, server
from tests.kit.reach import accepted, port_of

pytestmark = [pytest.mark.e2e, needs_namespaces]

PATIENCE = 10.0
IPPROTO_MPTCP = 262
FORBIDDEN = '[[stack]]\nusers = "bob"\nforbid = ["tos", "ttl"]\n[[stack]]\nusers = "carol"\ndscp = "ef"\n'


@pytest.fixture
def two() -> Iterator[Road]:
    """Give two hosts, joined, that take data in SYNs and send them."""
    with road() as made:
        for host in made.hosts:
            host.set("net.ipv4.tcp_fastopen", 3)
        yield made


def verdicts(url: str, *arguments: str) -> dict[str, tuple[str, ...]]:
    """Return what is told of each option: the answers for both legs, and the verdict."""
    ended = socks6("ping", "--options", *arguments, environment={"SOCKS6_PROXY": url})
    assert (ended.code, ended.errors) == (0, "")
    table = [re.split("  +", line, maxsplit=4) for line in ended.output.decode().splitlines()[2:]]
    return {option: tuple(rest) for option, _, *rest in table}


def eventually(fact: Callable[[], bool]) -> bool:
    """Return whether something is true soon."""
    until = time.monotonic() + PATIENCE
    while not fact() and time.monotonic() < until:
        time.sleep(0.01)
    return fact()


def syns_with_data(host: Namespace) -> int:
    return host.counter("TCPFastOpenActive")


def test_a_server_of_ours_honours_what_it_can(two: Road) -> None:
    with two.first.entered(), server("--fast-open", "16") as running:
        told = verdicts(running.url)
    assert told == {
        "tos": ("0x28", "0x28", "honoured"),
        "ttl": ("60", "60", "honoured"),
        "df": ("yes", "yes", "honoured"),
        "happy-eyeballs": ("-", "no answer", "not tested: it takes a name to connect to"),
        "tfo": ("-", "12 bytes", "honoured"),
        "mptcp": ("-", "yes", "honoured"),
    }


def test_a_target_that_speaks_mptcp(two: Road) -> None:
    host = two.last_address()
    with (
        two.last.listener(host, protocol=IPPROTO_MPTCP) as listener,
        two.first.entered(),
        server() as running,
    ):
        told = verdicts(running.url, "--target", f"{host}:{port_of(listener)}")
    assert told["mptcp"] == ("-", "yes", "honoured")
    assert told["ttl"] == ("60", "60", "honoured")


def test_bounds_are_each_users_own(tmp_path: Path) -> None:
    config = tmp_path / "socks6.toml"
    config.write_text(f"{FORBIDDEN}[users.plain]\nalice = 'a'\nbob = 'b'\ncarol = 'c'\n")
    with server("--config", str(config)) as running:
        alice, bob, carol = (verdicts(running.as_user(name, name[0])) for name in ("alice", "bob", "carol"))
    assert alice["tos"] == ("0x28", "0x28", "honoured")
    assert bob["tos"] == ("0x00", "0x00", "supported, not honoured")
    assert bob["ttl"] == ("64", "64", "supported, not honoured")
    assert bob["df"] == ("yes", "yes", "honoured")
    assert carol["tos"] == ("0x00", "0x00", "supported, not honoured")
    assert carol["ttl"] == ("60", "60", "honoured")


def test_bounds_are_renewed_by_sighup(tmp_path: Path) -> None:
    config = tmp_path / "socks6.toml"
    config.write_text("")
    with server("--config", str(config)) as running:
        assert verdicts(running.url)["tos"][-1] == "honoured"
        config.write_text('[[stack]]\nforbid = "tos"')
        running.process.send_signal(signal.SIGHUP)
        assert eventually(lambda: "socks6: reloaded\n" in running.said)
        assert verdicts(running.url)["tos"][-1] == "supported, not honoured"
        config.write_text('[[stack]]\nforbid = "toes"')
        running.process.send_signal(signal.SIGHUP)
        assert eventually(lambda: any("stack[0].forbid[0]" in line for line in running.said))
        assert verdicts(running.url)["tos"][-1] == "supported, not honoured"


def test_a_server_that_connects_to_no_port_of_its_own_says_what_to_do(tmp_path: Path) -> None:
    config = tmp_path / "socks6.toml"
    config.write_text('[[policy.rules]]\naction = "deny"\ncommands = "bind"\n')
    with server("--no-allow-private", "--config", str(config)) as running:
        ended = socks6("ping", "--options", running.url)
    assert (ended.code, ended.output) == (1, b"")
    assert (
        "asked to connect to itself, the proxy replied 02, not allowed; asked for a port of ours"
        in ended.errors
    )
    assert "name a host by --target HOST:PORT" in ended.errors


def test_a_proxy_on_a_unix_socket_binds_a_port_for_it(tmp_path: Path) -> None:
    with server("--listen", f"socks6+unix://{tmp_path}/proxy") as running:
        assert verdicts(running.url)["ttl"][-1] == "honoured on the remote leg alone"


@pytest.mark.parametrize("flags", [(), ("--copy-tos",)])
def test_a_clients_own_tos_is_copied_when_told_to(two: Road, flags: tuple[str, ...]) -> None:
    host = two.last_address()
    with (
        two.last.listener(host) as listener,
        two.first.entered(),
        two.first.capturing() as capture,
        server(*flags) as running,
    ):
        port = port_of(listener)
        with socket.socket() as client:
            client.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, 0x48)
            client.connect((running.place.host, running.place.port))
            client.sendall(connect_request(Place(host=host, port=port)))
            accepted(listener).close()
        (syn,) = capture.syns(port)
    assert syn.tos == (0x48 if flags else 0)


@pytest.mark.parametrize("flags", [(), ("--via-fast-open",)])
def test_requests_to_the_proxy_go_within_the_syn_when_told_to(two: Road, flags: tuple[str, ...]) -> None:
    host = two.first
    with (
        host.entered(),
        web_site() as site,
        server("--fast-open", "16") as far,
        converter(far.url, *flags) as near,
    ):
        if flags:  # the cookie is fetched before anybody comes
            assert eventually(lambda: host.counter("TCPFastOpenCookieReqd") == 1)
        assert syns_with_data(host) == 0
        assert curl("--proxy", near.url.replace("mixed", "socks5h"), site.url).status == 200
    assert syns_with_data(host) == (1 if flags else 0)


def test_a_proxy_that_is_not_there_yet_keeps_nobody_from_serving() -> None:
    with refusing_place() as nobody:
        via = f"socks6://{nobody.host}:{nobody.port}"
        with server("--via", via, "--via-fast-open") as running:
            assert socks6("ping", "-c", "1", running.url).code == 0
