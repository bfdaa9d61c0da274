"""Metrics as Prometheus itself reads them, and an alert that fires."""

import json
import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from tests.kit.origins import web_site
from tests.kit.proxies import Proxy, converter, curl, server

RULES: Final = Path(__file__).parents[2] / "packaging" / "prometheus" / "socks6.rules.yml"
METRICS: Final = ("--metrics", "127.0.0.1:0")
PATIENCE: Final = 20.0

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("promtool") is None, reason="prometheus is not installed"),
]


def metrics_of(running: Proxy) -> str:
    """Return where a proxy serves its metrics, as host:port."""
    found = eventually(lambda: re.search(r"metrics at http://([^/]+)/metrics", "".join(running.said)))
    return found[1]


def eventually(fact: Callable[[], Any]) -> Any:
    """Return something that is true soon."""
    until = time.monotonic() + PATIENCE
    while not (found := fact()):
        assert time.monotonic() < until, "not in time"
        time.sleep(0.05)
    return found


@contextmanager
def prometheus(folder: Path, *targets: str) -> Iterator[Callable[[str], Any]]:
    """Run Prometheus with our alerts, which wait for nothing; give what asks its API."""
    (folder / "rules.yml").write_text(re.sub(r"for: \d+m", "for: 0s", RULES.read_text()))
    config = {
        "global": {"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "250ms"},
        "rule_files": ["rules.yml"],
        "scrape_configs": [{"job_name": "socks6", "static_configs": [{"targets": targets}]}],
    }
    (folder / "prometheus.yml").write_text(json.dumps(config))  # JSON is YAML, too
    with socket.create_server(("127.0.0.1", 0)) as free:
        place = f"127.0.0.1:{free.getsockname()[1]}"
    flags = f"--config.file=prometheus.yml --storage.tsdb.path=data --web.listen-address={place}".split()
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(["prometheus", *flags], cwd=folder, stdout=log, stderr=log)
    try:

        def ask(path: str) -> Any:
            try:
                with urllib.request.urlopen(f"http://{place}/api/v1/{path}", timeout=5) as answer:
                    return json.load(answer)["data"]
            except OSError:  # it has only begun
                return {"alerts": [], "result": []}

        yield ask
    finally:
        process.kill()
        process.wait()


def down(ask: Callable[[str], Any]) -> list[Any]:
    """Return the alerts about an upstream that is down; others may come of a busy machine."""
    alerts = ask("alerts")["alerts"]
    return [
        one
        for one in alerts
        if one["labels"]["alertname"] == "Socks6UpstreamDown" and one["state"] == "firing"
    ]


def test_prometheus_reads_a_server_and_tells_of_an_upstream_that_is_gone(tmp_path: Path) -> None:
    with (
        web_site() as site,
        server("--listen", "socks6://127.0.0.1:0", *METRICS) as far,
        converter(far.url, *METRICS) as near,
    ):
        assert curl("--socks5", near.authority, site.url).status == 200
        with urllib.request.urlopen(f"http://{metrics_of(near)}/metrics") as answer:
            checked = subprocess.run(
                ["promtool", "check", "metrics"], input=answer.read(), capture_output=True, check=False
            )
        assert (checked.returncode, checked.stderr) == (0, b"")
        with prometheus(tmp_path, metrics_of(far), metrics_of(near)) as ask:
            query = 'query?query=socks6_requests_total{reply="succeeded"}'
            found = eventually(lambda: both if len(both := ask(query)["result"]) == 2 else None)
            assert {one["metric"]["outbound"] for one in found} == {"direct", far.authority}
            assert down(ask) == []
            far.process.send_signal(signal.SIGTERM)
            assert curl("--socks5", near.authority, site.url).code == 97
            (alert,) = eventually(lambda: down(ask))
            assert alert["labels"]["upstream"] == f"socks6://{far.authority}"
