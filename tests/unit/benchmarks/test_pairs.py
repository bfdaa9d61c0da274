"""How pairs are told to start, what their samples come to, and the page that browsers load."""

from pathlib import Path

import pytest

from benchmarks.load.pairs import page, page_origin, programs, suite
from benchmarks.load.pairs.cells import AIMS, CELLS, figure, parts
from benchmarks.load.pairs.makers import (
    PAIRS,
    PLAIN,
    TLS,
    Place,
    our_client_words,
    our_server_words,
    xray_client_configuration,
    xray_server_configuration,
)
from benchmarks.load.pairs.report import Figures, aim_lines, markdown
from benchmarks.load.processes import ProcessError
from benchmarks.load.suites import Sample

PLACE = Place(host="10.66.1.2", directory=Path("/place"), cores=frozenset({0}))


def test_aims_are_about_cells_and_pairs_that_there_are() -> None:
    for aim in AIMS:
        assert PAIRS[aim.pair].ours
        assert PAIRS[aim.pair].takes_part(aim.cell)
        assert aim.cell in CELLS
        assert not aim.against or PAIRS[aim.against].takes_part(aim.cell)


def test_only_datagrams_go_by_dtls_and_none_by_ssh() -> None:
    assert [cell for cell in CELLS if PAIRS["ours-dtls"].takes_part(cell)] == ["udp"]
    assert [cell for cell in CELLS if not PAIRS["ssh"].takes_part(cell)] == ["udp"]


def test_our_words() -> None:
    assert our_server_words(PLAIN, PLACE) == (
        *("server", "--listen", "socks6://10.66.1.2:0"),
        *("--allow-private", "--open"),
    )
    assert our_server_words(TLS, PLACE, "--user", "a:b") == (
        *(
            "server",
            "--listen",
            "socks6+tls://10.66.1.2:0?cert=/place/certificate.pem&key=/place/certificate.key",
        ),
        *("--allow-private", "--user", "a:b"),
    )
    assert our_client_words(PLAIN, PLACE, 9)[-1] == "socks6://10.66.1.2:9"
    via = "socks6+tls://a:b@10.66.1.2:9?ca=/place/certificate.pem&udp=stream"
    assert our_client_words(TLS, PLACE, 9, "--optimistic", query="udp=stream", user="a:b@")[-2:] == (
        *(via, "--optimistic"),
    )


def test_the_client_of_xray_trusts_the_server_and_is_its_user() -> None:
    server = xray_server_configuration(PLACE, 9)["inbounds"][0]
    client = xray_client_configuration(PLACE, 8, 9)
    hop = client["outbounds"][0]["settings"]["vnext"][0]
    assert (hop["address"], hop["port"]) == (server["listen"], server["port"])
    assert hop["users"][0]["id"] == server["settings"]["clients"][0]["id"]
    ours, theirs = (each["streamSettings"]["tlsSettings"] for each in (client["outbounds"][0], server))
    assert ours["certificates"][0]["certificateFile"] == theirs["certificates"][0]["certificateFile"]
    assert ours["disableSystemRoot"] is True
    assert client["inbounds"][0]["port"] == 8


def test_a_missing_program_is_named_with_what_brings_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert PAIRS["xray-tls"].obstacle() == ("xray is not installed: python -m benchmarks pair --build xray")
    with pytest.raises(ProcessError, match="built by go, which is not installed"):
        programs.build("xray")
    built = programs.directory() / "xray"
    built.parent.mkdir(parents=True)
    built.touch()
    assert PAIRS["xray-tls"].obstacle() == ""
    programs.build("xray")  # is there


def test_a_figure_is_of_both_processes() -> None:
    sample = Sample(count=2000, bytes=4 * 10**9, cpu={"client": 0.6, "server": 0.2})
    assert figure(CELLS["connect"], sample) == pytest.approx(400)
    assert parts(CELLS["bulk"], sample) == pytest.approx({"client": 0.15, "server": 0.05})
    assert figure(CELLS["memory"], Sample(pss=10 * 1024, connections=2)) == 5


def test_the_aims_beside_what_was_seen() -> None:
    results = {
        "connect": {
            "ours-tls": Figures(values=[700, 500, 600], parts=[{"client": 300, "server": 200}] * 3),
            "ours-quic": Figures(values=[500]),
            "xray-tls": Figures(values=[1000, 1100, 900]),
        },
        "round-trips": {"ours-tls": Figures(values=[91])},
    }
    told = "\n".join(aim_lines(results))
    assert "| ≤ 0.65 of Xray, VLESS over TLS | 0.6 ✓ | 0.556 |" in told
    assert "| ≤ 0.4 of Xray, VLESS over TLS | 0.5 ✗ | 0.556 |" in told
    assert "| ≤ 90 | 91 ✗ | 91 |" in told
    assert "shadowsocks" not in told
    page_text = markdown(results, ["a note"], {"cores": "2"})
    assert "| ours, TLS | 600 | 500 | 300 + 200 | 0.6 |" in page_text
    assert "- a note\n" in page_text


def test_arguments_name_peers_and_cells(capsys: pytest.CaptureFixture[str]) -> None:
    asked = suite.arguments(["--quick", "--peers", "ours-tls,xray-tls", "--cells", "connect"])
    assert (asked.peers, asked.cells, asked.output) == (
        ["ours-tls", "xray-tls"],
        ["connect"],
        suite.QUICK_RESULTS,
    )
    assert suite.arguments([]).cells == list(CELLS)
    for main, words in ((suite.arguments, ["--cells", "nothing"]), (page.arguments, ["--peers", "nothing"])):
        with pytest.raises(SystemExit):
            main(words)
        assert "there is no nothing; there are" in capsys.readouterr().err


def test_a_page_takes_its_resources_from_every_host() -> None:
    ports = list(range(2000, 2000 + page_origin.HOSTS))
    text = page_origin.page("10.66.1.2", 1999, ports, 1)
    for number, size in enumerate(page_origin.sizes()):
        assert f'"http://10.66.1.2:{ports[number % len(ports)]}/{number}/{size}.' in text
    assert "http://10.66.1.2:1999/start?load=1&" in text


@pytest.mark.parametrize("kind", ["svg", "css", "js"])
def test_a_resource_has_the_size_in_its_name(kind: str) -> None:
    assert len(page_origin.resource(f"/7/3000.{kind}")[1]) == 3000


def test_the_report_of_page_loads() -> None:
    direct = [page.Load(seconds=seconds, connections=60) for seconds in (0.2, 0.4, 0.3)]
    taken = {"direct": direct, "ours-tls": [page.Load(seconds=0.6, connections=32)], "ssh": []}
    lines = page.report(taken, {"ssh": "it ended"}, {"cores": "2"}).splitlines()
    assert "| direct | 300 | 200 | 400 | 1.00 | 60 |" in lines
    assert "| ours, TLS | 600 | 600 | 600 | 2.00 | 32 |" in lines
    assert "- ssh -D failed: it ended" in lines
