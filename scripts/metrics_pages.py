"""The page about metrics, and the dashboard of Grafana, made from the table of all metrics."""

import json
from collections.abc import Mapping
from typing import Final

from socks6.observability.families import FAMILIES, WHO

Queries = Mapping[str, str]  # by legend

RATE: Final = "$__rate_interval"
INSTANCE: Final = 'instance=~"$instance"'
PANELS: Final[tuple[tuple[str, str, Queries], ...]] = (
    ("Connections", "short", {
        "{{inbound}} {{command}}": f"sum by (inbound, command) (socks6_connections{{{INSTANCE}}})",
        "limit": f"sum(socks6_connections_limit{{{INSTANCE}}})",
    }),
    ("Bytes relayed", "Bps", {
        "{{direction}}": f"sum by (direction) (rate(socks6_relayed_bytes_total{{{INSTANCE}}}[{RATE}]))",
    }),
    ("Requests by reply", "reqps", {
        "{{reply}}": f"sum by (reply) (rate(socks6_requests_total{{{INSTANCE}}}[{RATE}]))",
    }),
    ("Requests by outbound", "reqps", {
        "{{outbound}}": f"sum by (outbound) (rate(socks6_requests_total{{{INSTANCE}}}[{RATE}]))",
    }),
    ("Time to connect", "s", {
        f"{share:.0%}": f"histogram_quantile({share}, sum by (le) (rate(socks6_connect_duration_seconds_bucket{{{INSTANCE}}}[{RATE}])))"
        for share in (0.5, 0.9, 0.99)
    }),
    ("Handshake and lookup, 90 %", "s", {
        name: f"histogram_quantile(0.9, sum by (le) (rate(socks6_{name}_duration_seconds_bucket{{{INSTANCE}}}[{RATE}])))"
        for name in ("handshake", "lookup")
    }),
    ("How connections end", "cps", {
        "{{ending}}": f"sum by (ending) (rate(socks6_connections_ended_total{{{INSTANCE}}}[{RATE}]))",
    }),
    ("Upstream proxies (1: works)", "short", {"{{upstream}}": f"socks6_upstream_up{{{INSTANCE}}}"}),
    ("Associations, bindings, sessions", "short", {
        name: f"sum(socks6_{name}{{{INSTANCE}}})" for name in ("associations", "bindings", "sessions")
    }),
    ("Wrong passwords, penalties, limits", "cps", {
        name.replace("_", " "): f"sum(rate(socks6_{name}_total{{{INSTANCE}}}[{RATE}]))"
        for name in ("authentication_failures", "penalties", "limits_reached")
    }),
    ("CPU", "percentunit", {"{{instance}}": f'rate(process_cpu_seconds_total{{job="socks6", {INSTANCE}}}[{RATE}])'}),
    ("Memory", "bytes", {"{{instance}}": f'process_resident_memory_bytes{{job="socks6", {INSTANCE}}}'}),
)  # fmt: skip
"""Title, unit and queries of each panel."""


def metrics_page() -> str:
    """Return the reference of all metrics."""
    rows = []
    for name, family in FAMILIES.items():
        labels = ", ".join(f"`{label}`" for label in family.labels)
        by_user = ", `user`" if family.labels[:3] == WHO else ""
        rows.append(f"| `{name}` | {family.kind} | {labels}{by_user} | {family.help} |")
    return "\n".join(
        [
            "# Metrics",
            "",
            "Drawn by `make docs` from `src/socks6/observability/families.py`; how to have them is in",
            "[Metrics and traces](../guide/observability.md). `user` is there with `--metrics-users` alone. Besides there are",
            "`process_*` and `python_info`.",
            "",
            "| metric | kind | labels | meaning |",
            "|---|---|---|---|",
            *rows,
            "",
        ]
    )


def grafana_dashboard() -> str:
    """Return a dashboard for Grafana 9 and later."""
    source = {"type": "prometheus", "uid": "${datasource}"}
    panels = [
        {
            "id": number + 1,
            "type": "timeseries",
            "title": title,
            "datasource": source,
            "gridPos": {"h": 8, "w": 12, "x": 12 * (number % 2), "y": 8 * (number // 2)},
            "fieldConfig": {
                "defaults": {"unit": unit, "min": 0, "custom": {"fillOpacity": 10}},
                "overrides": [],
            },
            "options": {
                "tooltip": {"mode": "multi"},
                "legend": {"displayMode": "list", "placement": "bottom"},
            },
            "targets": [
                {"refId": chr(ord("A") + index), "datasource": source, "expr": query, "legendFormat": legend}
                for index, (legend, query) in enumerate(queries.items())
            ],
        }
        for number, (title, unit, queries) in enumerate(PANELS)
    ]
    variables = [
        {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"},
        {
            "name": "instance",
            "label": "Instance",
            "type": "query",
            "datasource": source,
            "query": {"query": "label_values(socks6_build_info, instance)", "refId": "instance"},
            "refresh": 2,
            "multi": True,
            "includeAll": True,
            "allValue": ".*",
            "current": {"text": "All", "value": "$__all"},
        },
    ]
    dashboard = {
        "title": "socks6",
        "uid": "socks6",
        "tags": ["socks6"],
        "schemaVersion": 38,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": variables},
        "panels": panels,
    }
    return json.dumps(dashboard, indent=2) + "\n"
