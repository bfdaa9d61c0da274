"""Metrics for Prometheus: what events say is counted as it happens, what there is now is read when somebody asks.

A connection costs a tuple when it ends; many of these are counted together, which takes a fifth of the time. What open
connections have moved is added at a scrape, so that counters of bytes do not wait for their ends. Labels have few values,
whatever clients do: what is no known command or reply is "other", and of users only so many have names.
"""

import platform
import time
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from operator import sub
from typing import Final, TypeAlias

from prometheus_client import PlatformCollector, ProcessCollector
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from socks6.compat import override
from socks6.distribution import VERSION
from socks6.message.codes import Command, ReplyCode
from socks6.net.upstream import UpstreamState
from socks6.observability.families import FAMILIES, WHO
from socks6.proxy.context import ProxyContext
from socks6.proxy.live import LiveConnection
from socks6.telemetry import (
    AcceptPaused,
    CertificateRead,
    Ending,
    Event,
    LimitReached,
    Observer,
    QuotaReached,
    SourcePenalized,
    UnexpectedError,
    UserRefused,
)

Labels: TypeAlias = tuple[str, ...]
Samples: TypeAlias = Mapping[Labels, float]
_Ended: TypeAlias = tuple[
    str, str, str, int, str, Ending, float, float, int, int, list[float] | None
]  # inbound, outbound, command, reply code, user, ending, when it was accepted, when it ended, bytes up and down, times
Facts: TypeAlias = tuple[str, str, str, int, str]  # inbound, outbound, command, reply code, user

OTHER: Final = "other"
NONE: Final = "none"
COMMANDS: Final[Mapping[str, str]] = {"": NONE, **{command.name: command.name for command in Command}}
REPLIES: Final[Mapping[int, str]] = {-1: NONE, **{code.value: code.name.lower() for code in ReplyCode}}
TOGETHER: Final = 512  # connections that have ended are counted
MAX_FACTS: Final = 4096  # that are remembered with their labels; of others these are looked up each time


class _Histogram:
    """Counts values by bounds."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds: Final = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, values: Sequence[float]) -> None:
        """Count values; many at once take a third of the time each."""
        if len(values) < len(self.bounds):
            for value in values:
                self.counts[bisect_left(self.bounds, value)] += 1
        else:
            ordered, before = sorted(values), 0
            for index, bound in enumerate(self.bounds):
                until = bisect_right(ordered, bound)
                self.counts[index] += until - before
                before = until
            self.counts[-1] += len(ordered) - before
        self.total += sum(values)


class _Series:
    """What is counted of the connections that have the same labels."""

    __slots__ = (
        "connect",
        "count",
        "down",
        "down_sizes",
        "duration",
        "endings",
        "handshake",
        "up",
        "up_sizes",
    )

    def __init__(self, labels: Labels, histograms: "_Histograms", endings: dict[Ending, int]) -> None:
        inbound, outbound, command = labels[:3]
        self.count = self.up = self.down = 0
        self.endings: Final = endings
        self.handshake: Final = histograms.get("socks6_handshake_duration_seconds", (inbound,))
        self.connect: Final = histograms.get("socks6_connect_duration_seconds", (outbound, command))
        self.duration: Final = histograms.get("socks6_request_duration_seconds", (inbound, command))
        self.up_sizes: Final = histograms.get("socks6_request_bytes", (command, "up"))
        self.down_sizes: Final = histograms.get("socks6_request_bytes", (command, "down"))


class _Histograms:
    """All histograms, by name and labels."""

    def __init__(self) -> None:
        self.by_name: Final[dict[str, dict[Labels, _Histogram]]] = {}

    def get(self, name: str, labels: Labels = ()) -> _Histogram:
        """Return a histogram, a new one if it is not there yet."""
        found = self.by_name.setdefault(name, {})
        if labels not in found:
            found[labels] = _Histogram(FAMILIES[name].bounds)
        return found[labels]


class Metrics(Observer):
    """Counts what happens, and reads what there is. Belongs to the loop of the proxy, which it is attached to.

    So many `users` have a label of their own: those that come first.
    """

    wants = (
        UserRefused, LimitReached, QuotaReached, SourcePenalized, UnexpectedError, AcceptPaused, CertificateRead,
    )  # fmt: skip

    def __init__(self, *, users: int = 0) -> None:
        self._max_users: Final = users
        self._users: Final = {""}  # that have labels of their own
        self._series: Final[dict[Labels, _Series]] = {}
        self._known: Final[dict[Facts, _Series]] = {}
        self._histograms: Final = _Histograms()
        self._lookup: Final = self._histograms.get("socks6_lookup_duration_seconds")
        self._endings: Final[dict[str, dict[Ending, int]]] = {}  # by inbound
        self._counts: Final[dict[str, Counter[Labels]]] = {}
        self._ended: Final[list[_Ended]] = []  # and not counted yet
        self._outbound = ""
        self._shown: Final[dict[str, dict[Labels, float]]] = {}  # counters as they were shown last

    @override
    def observe(self, event: Event) -> None:
        match event:
            case UserRefused():
                self._count("socks6_authentication_failures_total", event.inbound)
            case CertificateRead():
                self._count("socks6_certificate_reads_total", "failure" if event.reason else "success")
            case LimitReached():
                self._count("socks6_limits_reached_total")
            case QuotaReached():
                self._count("socks6_quotas_reached_total")
            case SourcePenalized():
                self._count("socks6_penalties_total")
            case UnexpectedError():
                self._count("socks6_unexpected_errors_total")
            case AcceptPaused():
                self._count("socks6_accept_pauses_total")
            case _:
                pass

    def attach(self, proxy: ProxyContext) -> None:
        """Count the connections of a proxy, which has this among its observers."""
        proxy.timed = True
        proxy.connections.on_ended = self._note
        self._outbound = proxy.outbound_name

    def scrape(self, proxy: ProxyContext) -> "Scrape":
        """Return what there is to show now, from the loop's thread; any other may write it out."""
        self._count_ended()
        connections, requests, relayed = self._with_open_ones(proxy)
        settings, sessions = proxy.settings, proxy.sessions
        samples: dict[str, Samples] = {
            "socks6_build_info": {(VERSION, platform.python_version()): 1},
            "socks6_connections": connections,
            "socks6_connections_limit": _limit(settings.connections),
            "socks6_connections_ended_total": {
                (inbound, ending.value): count
                for inbound, endings in self._endings.items()
                for ending, count in endings.items()
            },
            "socks6_requests_total": self._rising("socks6_requests_total", requests),
            "socks6_relayed_bytes_total": self._rising("socks6_relayed_bytes_total", relayed),
            "socks6_associations": {(): proxy.associations.count},
            "socks6_associations_limit": _limit(settings.udp.associations),
            "socks6_bindings": {(): proxy.bindings.limits.count},
            "socks6_bindings_limit": _limit(settings.bind.listeners),
            "socks6_sessions": {(): len(tuple(sessions.store.sessions())) if sessions is not None else 0},
            "socks6_sessions_limit": _limit(settings.sessions.total if sessions is not None else 0),
            "socks6_password_checks_waiting": {(): len(proxy.verifications)},
            "socks6_penalized_sources": {(): proxy.penalties.count_blocked(proxy.loop.time())},
            "socks6_datagrams_over_bandwidth_total": {(): proxy.accounts.datagrams_dropped},
            "socks6_upstream_up": {
                (status.url,): float(status.state is UpstreamState.UP)
                for status in proxy.outbound.upstreams
                if status.state is not UpstreamState.UNTRIED
            },
            "socks6_upstream_check_seconds": {
                (status.url,): status.seconds for status in proxy.outbound.upstreams if status.seconds
            },
        }
        for name, family in FAMILIES.items():
            if family.kind == "counter" and name not in samples:
                # what has no labels is there from the start: a rate needs a first value
                samples[name] = dict(self._counts.get(name) or ({} if family.labels else {(): 0}))
        histograms = {
            name: {labels: (tuple(one.counts), one.total) for labels, one in found.items() if any(one.counts)}
            for name, found in self._histograms.by_name.items()
        }
        return Scrape(samples, histograms, by_user=bool(self._max_users))

    def _note(self, connection: LiveConnection) -> None:
        self._ended.append(
            (
                connection.inbound,
                connection.outbound,
                connection.command,
                connection.reply,
                connection.user,
                connection.ending,
                connection.started,
                time.monotonic(),
                connection.bytes_up,
                connection.bytes_down,
                connection.times,
            )
        )
        if len(self._ended) >= TOGETHER:
            self._count_ended()

    def _count_ended(self) -> None:
        """Count what was noted: by groups that have all labels in common, and within them by columns."""
        groups: defaultdict[tuple[str, str, str, int, str, Ending], list[_Ended]] = defaultdict(list)
        for ended in self._ended:
            groups[ended[:6]].append(ended)
        self._ended.clear()
        for (inbound, outbound, command, reply, user, ending), group in groups.items():
            facts = (inbound, outbound, command, reply, user if self._max_users else "")
            series = self._known.get(facts) or self._series_of(facts)
            series.endings[ending] = series.endings.get(ending, 0) + len(group)
            if command:
                series.count += len(group)
                self._count_group(series, group)

    def _count_group(self, series: _Series, group: Sequence[_Ended]) -> None:
        *_, started, over, ups, downs, all_times = zip(*group, strict=True)
        series.up += sum(ups)
        series.down += sum(downs)
        series.duration.add(list(map(sub, over, started)))
        series.up_sizes.add(ups)
        series.down_sizes.add(downs)
        # without times are those that were answered at once
        series.handshake.add(
            [times[0] - since for times, since in zip(all_times, started, strict=True) if times]
        )
        series.connect.add([times[2] - times[0] for times in all_times if times and times[2]])
        self._lookup.add([times[1] - times[0] for times in all_times if times and times[1]])

    def _series_of(self, facts: Facts) -> _Series:
        labels = self._labels(facts)
        series = self._series.get(labels)
        if series is None:
            endings = self._endings.setdefault(facts[0], {})
            series = self._series[labels] = _Series(labels, self._histograms, endings)
        if len(self._known) < MAX_FACTS:
            self._known[facts] = series
        return series

    def _labels(self, facts: Facts) -> Labels:
        inbound, outbound, command, reply, user = facts
        if command and not outbound:
            outbound = self._outbound
        if user not in self._users:
            if len(self._users) <= self._max_users:
                self._users.add(user)
            else:
                user = OTHER
        return inbound, outbound or NONE, COMMANDS.get(command, OTHER), REPLIES.get(reply, OTHER), user

    def _with_open_ones(self, proxy: ProxyContext) -> tuple[Samples, Samples, Samples]:
        """Return the connections that are open, and requests and bytes of these and of all that have ended."""
        connections: Counter[Labels] = Counter()
        requests: Counter[Labels] = Counter()
        relayed: Counter[Labels] = Counter()

        def add(labels: Labels, count: int, up: int, down: int) -> None:
            inbound, outbound, command, _, user = labels
            requests[labels] += count
            relayed[inbound, outbound, command, "up", user] += up
            relayed[inbound, outbound, command, "down", user] += down

        for labels, series in self._series.items():
            if series.count:
                add(labels, series.count, series.up, series.down)
        by_user = bool(self._max_users)
        for facts, (count, up, down) in proxy.connections.summed(by_user=by_user).items():
            inbound, outbound, command, _, user = labels = self._labels(facts)
            connections[inbound, outbound, command, user] += count
            if facts[2]:
                add(labels, count if facts[3] >= 0 else 0, up, down)
        return connections, requests, relayed

    def _rising(self, name: str, samples: Samples) -> Samples:
        """Return samples of a counter that never fall, though an open connection changes its labels with its next request."""
        shown = self._shown.setdefault(name, {})
        for labels, value in samples.items():
            shown[labels] = max(value, shown.get(labels, 0))
        return dict(shown)

    def _count(self, name: str, *labels: str) -> None:
        self._counts.setdefault(name, Counter())[labels] += 1


class Scrape(Collector):
    """What there was at one moment, as prometheus_client writes it."""

    def __init__(
        self,
        samples: Mapping[str, Samples],
        histograms: Mapping[str, Mapping[Labels, tuple[tuple[int, ...], float]]],
        *,
        by_user: bool,
    ) -> None:
        self._samples = samples
        self._histograms = histograms
        self._by_user = by_user

    @override
    def collect(self) -> Iterator[Metric]:
        for name, family in FAMILIES.items():
            labels = (*family.labels, "user") if self._by_user and family.labels[:3] == WHO else family.labels
            if family.kind == "histogram":
                histogram = HistogramMetricFamily(name, family.help, labels=labels)
                bounds = (*map(_bound, family.bounds), "+Inf")
                for values, (counts, total) in self._histograms.get(name, {}).items():
                    histogram.add_metric(values, list(zip(bounds, accumulate(counts), strict=True)), total)
                yield histogram
                continue
            metric = KINDS[family.kind](name, family.help, labels=labels)
            for values, value in self._samples[name].items():
                metric.add_metric(values[: len(labels)] if not self._by_user else values, value)
            yield metric
        yield from ProcessCollector(registry=None).collect()
        yield from PlatformCollector(registry=None).collect()


KINDS: Final[Mapping[str, type[CounterMetricFamily | GaugeMetricFamily]]] = {
    "counter": CounterMetricFamily,
    "gauge": GaugeMetricFamily,
}


def _limit(count: int) -> Samples:
    return {(): count} if count else {}


def _bound(value: float) -> str:
    return f"{value:.15g}"
