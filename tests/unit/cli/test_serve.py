"""What socks6 server and socks6 client make of a command line."""

import logging
import resource

import pytest

from socks6.cli.parser import parse
from socks6.cli.serve import fetch_cookie, make_plan, raise_descriptor_limit
from socks6.errors import ConfigurationError
from socks6.proxy.worker import ServerWorker
from tests.kit.loops import Run
from tests.kit.outbounds import Recorder
from tests.kit.proxied import proxied, scripted


def test_a_client_goes_where_the_environment_says() -> None:
    _, plan = make_plan(parse(["client"]), {"SOCKS6_PROXY": "socks6://proxy.example"})
    assert str(plan.via) == "socks6://proxy.example:1080"
    assert [str(url) for url in plan.listen] == ["mixed://127.0.0.1:1080"]


def test_a_client_without_a_proxy() -> None:
    with pytest.raises(ConfigurationError, match="no proxy to go through"):
        make_plan(parse(["client"]), {})


def test_a_server_may_go_through_a_proxy() -> None:
    _, plan = make_plan(parse(["server", "--via", "socks6://next.example"]), {})
    assert str(plan.via) == "socks6://next.example:1080"


def test_a_server_goes_out_directly() -> None:
    choices, plan = make_plan(parse(["server"]), {})
    assert plan.via is None
    assert choices.loop is None


def test_fast_open_to_the_proxy_is_the_upstream_clients() -> None:
    _, plan = make_plan(parse(["client", "--via", "socks6://proxy.example", "--via-fast-open"]), {})
    assert plan.via_fast_open
    assert plan.upstream() is not None


def test_a_cookie_is_fetched_by_a_request_for_nothing(run: Run) -> None:
    async def scene() -> None:
        log = Recorder()
        async with proxied(ServerWorker(observers=[log])) as client:
            await fetch_cookie(client)
        assert [summary.command for summary in log.summaries] == ["NOOP"]

    run(scene())


def test_a_cookie_that_cannot_be_had_is_nobodys_concern(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def scene() -> None:
        async with scripted(b"\x05") as client:
            await fetch_cookie(client)

    with caplog.at_level(logging.DEBUG, "socks6"):
        run(scene())
    (record,) = (record for record in caplog.records if record.name == "socks6")
    assert record.levelno == logging.DEBUG
    assert record.getMessage().startswith("no fast open cookie proxy=socks6://memory:1080 reason=")


def test_warnings_are_told(tmp_path: object, capsys: pytest.CaptureFixture[str]) -> None:
    with open(f"{tmp_path}/users", "w") as file:
        file.write("# nobody\n")
    make_plan(parse(["server", "--users", f"{tmp_path}/users"]), {})
    assert capsys.readouterr().err.startswith("socks6: warning: ")


def test_the_limit_of_descriptors_is_raised_to_the_hard_one() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
        raise_descriptor_limit()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
