"""The table of metrics, and what is shipped for it."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from socks6.observability.families import FAMILIES

PACKAGING: Final = Path(__file__).parents[3] / "packaging"
RULES: Final = PACKAGING / "prometheus" / "socks6.rules.yml"
OF_A_HISTOGRAM: Final = re.compile("_(bucket|sum|count)$")


def used_in(text: str) -> Iterator[str]:
    """Give the metrics of ours that a text names."""
    for name in re.findall(r"\bsocks6_[a-z_]+", text):
        base = OF_A_HISTOGRAM.sub("", name)
        yield base if base in FAMILIES else name


def test_alerts_and_the_dashboard_name_metrics_that_there_are() -> None:
    dashboard = json.loads((PACKAGING / "grafana" / "socks6.json").read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    assert len(queries) > 12
    used = set(used_in(RULES.read_text())) | {name for query in queries for name in used_in(query)}
    assert used <= set(FAMILIES)


def test_counters_end_in_total_and_units_are_base_units() -> None:
    for name, family in FAMILIES.items():
        assert name.endswith("_total") == (family.kind == "counter"), name
        assert bool(family.bounds) == (family.kind == "histogram"), name
        assert not re.search("_(ms|milliseconds|kilobytes|percent)$", name)


def test_promtool_takes_the_alerts() -> None:
    if shutil.which("promtool") is None:
        pytest.skip("prometheus is not installed")
    done = subprocess.run(
        ["promtool", "check", "rules", str(RULES)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
