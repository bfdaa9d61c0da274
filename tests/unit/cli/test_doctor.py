"""What ails an installation, a system, or the way to a proxy."""

import argparse
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from socks6.cli import doctor
from socks6.cli.doctor import Finding, Verdict, examine, examine_installation, examine_system
from socks6.cli.parser import parse
from socks6.net.url import ProxyUrl
from socks6.proxy.authentication.table import UserTable
from socks6.proxy.service import Server
from socks6.proxy.settings import Settings
from socks6.proxy.worker import ServerWorker
from tests.kit.certificates import Files, pin_of_file, write_certificate
from tests.kit.loops import Run
from tests.kit.origins import refusing_place
from tests.kit.proxied import local_worker

LOCAL = {found.check for found in (*examine_installation(), *examine_system())}


def users() -> ServerWorker:
    return ServerWorker(authenticator=UserTable.from_plain({"alice": "s3cret"}), settings=Settings())


@asynccontextmanager
async def listening(scheme: str, worker: ServerWorker, files: Files | None = None) -> AsyncIterator[str]:
    """Give host and port of a server."""
    query = f"?cert={files.certificate}&key={files.key}" if files is not None else ""
    async with Server([f"{scheme}://127.0.0.1:0{query}"], worker) as server:
        yield server.urls[0].rpartition("/")[2]


async def findings(url: str, *, seconds: float = 5.0) -> dict[str, Finding]:
    """Return what is found on the way to a proxy, by what was checked."""
    return {
        found.check: found
        async for found in examine([ProxyUrl.parse(url)], seconds)
        if found.check not in LOCAL
    }


def test_a_whole_installation_is_ok() -> None:
    found = {one.check: one for one in examine_installation()}
    assert found["extra quic"].words == "installed"
    assert all(one.verdict is not Verdict.FAILED for one in (*found.values(), *examine_system()))


def test_what_is_missing_is_told_with_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_is_there", lambda _: False)
    found = {one.check: one for one in examine_installation()}
    assert found["extra quic"].advice.startswith("pip install 'pysocks6[quic]'")
    assert found["event loop"].verdict is Verdict.WARNING
    assert "several times the CPU" in found["datagrams"].words


def test_a_system_with_less_is_warned_about(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor, "_can_open", lambda *_: False)
    monkeypatch.setattr(doctor, "_can_set", lambda *_: False)
    monkeypatch.setattr(doctor, "FAST_OPEN_FILE", tmp_path / "none")
    monkeypatch.setattr("resource.getrlimit", lambda _: (64, 64))
    found = {one.check: one for one in examine_system()}
    warned = {check for check, one in found.items() if one.verdict is Verdict.WARNING}
    assert {"multipath", "ICMP errors", "UDP segments", "descriptors"} <= warned
    assert found["TCP Fast Open"].words == "unknown here"


def test_a_proxy_in_the_clear_that_works(run: Run) -> None:
    async def scene() -> None:
        async with listening("socks6", local_worker()) as place:
            found = await findings(f"socks6://alice:wonder%20land%2F7@{place}")
        assert list(found) == ["name", "route", "TCP", "SOCKS 6", "round trips", "UDP"]
        assert {one.verdict for one in found.values()} == {Verdict.OK}
        assert found["SOCKS 6"].words.startswith("answers as user alice")
        assert found["UDP"].words == "datagrams travel by datagram"

    run(scene())


def test_a_wrong_password_is_the_last_finding_and_is_not_told(run: Run) -> None:
    async def scene() -> None:
        async with listening("socks6", users()) as place:
            found = await findings(f"socks6://alice:wr0ng@{place}")
        assert list(found)[-1] == "SOCKS 6"
        assert found["SOCKS 6"].verdict is Verdict.FAILED
        assert found["SOCKS 6"].words == "the proxy refused the password of user alice"
        assert "socks6 passwd" in found["SOCKS 6"].advice
        assert "wr0ng" not in repr(found)

    run(scene())


def test_a_certificate_that_is_not_trusted_is_told_with_its_pin(run: Run, tmp_path: Path) -> None:
    files = write_certificate(tmp_path)

    async def scene() -> None:
        async with listening("socks6+tls", local_worker(), files) as place:
            found = await findings(f"socks6+tls://alice@{place}")
            pin = pin_of_file(files.certificate)
            known = await findings(f"socks6+tls://alice:wonder%20land%2F7@{place}?pin-sha256={pin}")
        assert found["TLS"].verdict is Verdict.FAILED
        assert f"?pin-sha256={pin}" in found["TLS"].advice
        assert known["TLS"].words.startswith("TLSv1.3, ")
        assert (known["UDP"].words, known["QUIC"].words) == (
            "datagrams travel by dtls",
            "not there, and not asked for",
        )

    run(scene())


def test_a_file_that_the_url_names_and_that_cannot_be_read_is_a_finding(run: Run, tmp_path: Path) -> None:
    async def scene() -> None:
        async with listening("socks6+tls", local_worker(), write_certificate(tmp_path)) as place:
            found = await findings(f"socks6+tls://{place}?ca={tmp_path}/none")
        assert list(found) == ["URL"]
        assert found["URL"].verdict is Verdict.FAILED
        assert found["URL"].words == f"{tmp_path}/none: No such file or directory"

    run(scene())


def test_auto_without_quic_is_a_warning(run: Run, tmp_path: Path) -> None:
    files = write_certificate(tmp_path)

    async def scene() -> None:
        async with listening("socks6+tls", local_worker(), files) as place:
            found = await findings(
                f"socks6+auto://alice:wonder%20land%2F7@{place}?ca={files.ca}&sni=localhost"
            )
        assert found["QUIC"].verdict is Verdict.WARNING
        assert found["QUIC"].advice.startswith("open UDP port")

    run(scene())


def test_what_speaks_no_tls_is_told(run: Run) -> None:
    async def scene() -> None:
        async with listening("socks6", local_worker()) as place:
            found = await findings(f"socks6+tls://{place}")
        assert "does not speak TLS here" in found["TLS"].words

    run(scene())


def test_a_server_without_udp_is_a_warning(run: Run) -> None:
    async def scene() -> None:
        async with Server(["socks5://127.0.0.1:0"], local_worker()) as server:
            found = await findings(f"socks6://{server.urls[0].rpartition('/')[2]}")
        assert found["SOCKS 6"].words == "that is no SOCKS 6 proxy: it speaks SOCKS 5"

    run(scene())


def test_proxies_of_other_protocols(run: Run, tmp_path: Path) -> None:
    async def scene() -> None:
        files = write_certificate(tmp_path)
        async with listening("http+tls", users(), files) as place:
            found = await findings(
                f"https://alice:s3cret@{place}?pin-sha256={pin_of_file(files.certificate)}"
            )
        assert list(found)[-3:] == ["TLS", "HTTP", "round trips"]
        assert {finding.verdict for finding in found.values()} == {Verdict.OK}
        async with listening("socks5", users()) as place:
            found = await findings(f"socks5://alice:s3cret@{place}")
            assert found["UDP"].words == "datagrams travel by datagram"
            found = await findings(f"socks5://alice:wr0ng@{place}")
            assert found["SOCKS 5"].advice == "USER:PASSWORD@ in the URL"

    run(scene())


def test_a_closed_port_and_a_name_that_is_none(run: Run) -> None:
    async def scene() -> None:
        with refusing_place() as nobody:
            found = await findings(f"socks6://{nobody.host}:{nobody.port}")
        assert (found["TCP"].verdict, found["TCP"].words) == (Verdict.FAILED, "127.0.0.1: Connection refused")
        found = await findings("socks6://no-such-name.invalid")
        assert list(found) == ["name"]
        assert found["name"].verdict is Verdict.FAILED

    run(scene())


def test_json_holds_the_same_and_the_exit_code_tells(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SOCKS6_PROXY", raising=False)
    with refusing_place() as nobody:
        words: argparse.Namespace = parse(["doctor", f"socks6://{nobody.host}:{nobody.port}", "--json"])
        assert doctor.run(words) == 1
    found = json.loads(capsys.readouterr().out)
    assert found[0]["check"] == "version"
    assert (found[-1]["check"], found[-1]["verdict"]) == ("TCP", "failed")
    assert doctor.run(parse(["doctor"])) == 0
    assert capsys.readouterr().out.startswith("ok       version        pysocks6 ")


def test_a_path_too_narrow_for_quic_is_a_warning_where_quic_is_wanted(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "_mtu", lambda _: 1200)

    async def scene() -> None:
        with refusing_place() as nobody:
            found = await findings(f"socks6+auto://{nobody.host}:{nobody.port}")
            other = await findings(f"socks6+tls://{nobody.host}:{nobody.port}")
        assert found["route"].words == "127.0.0.1 from 127.0.0.1, MTU 1200"
        assert found["route"].verdict is Verdict.WARNING
        assert other["route"].verdict is Verdict.OK

    run(scene())


def test_each_of_several_proxies_is_examined_though_one_fails(run: Run) -> None:
    async def scene() -> None:
        async with listening("socks6", local_worker()) as place:
            urls = [ProxyUrl.parse(url) for url in ("socks6://127.0.0.1:1", f"socks6://{place}")]
            found = [one async for one in examine(urls, 5.0) if one.check not in LOCAL]
        first, second = (index for index, one in enumerate(found) if one.check == "proxy")
        assert [found[first].words, found[second].words] == [url.brief for url in urls]
        assert found[second - 1].verdict is Verdict.FAILED
        assert found[-1].check == "SOCKS 6"  # it wants a password: so far it came

    run(scene())
