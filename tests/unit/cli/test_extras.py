"""Commands without the extras: one line says what to install."""

import sys

import pytest

from socks6.cli import WRONG, main

PACKAGES = ("qh3", "aioquic", "OpenSSL")
QUIC = "socks6+quic://127.0.0.1:9"
HINT = "QUIC by qh3 needs an extra: pip install 'pysocks6[quic]' (in a clone: pip install '.[quic]')"


@pytest.mark.parametrize(
    "arguments",
    [
        ("server", "--listen", "socks6+quic://127.0.0.1:0"),
        ("client", "--listen", "mixed://127.0.0.1:0", "--via", QUIC),
        ("ping", QUIC),
        ("connect", "--via", QUIC, "192.0.2.1", "80"),
        ("trace", "--via", QUIC, "192.0.2.1"),
        ("forward", "--via", QUIC, "0", "192.0.2.1:80"),
        ("bind", "--via", QUIC, "127.0.0.1:80"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_each_names_the_extra_that_its_url_needs(
    arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [*sys.modules]:
        if name.partition(".")[0] in PACKAGES or name.startswith("socks6.net.transports.quic."):
            monkeypatch.delitem(sys.modules, name)
    for package in PACKAGES:
        monkeypatch.setitem(sys.modules, package, None)
    assert main(list(arguments)) == WRONG
    complaint = capsys.readouterr().err
    assert complaint.startswith(f"socks6: {HINT}")
    assert complaint.count("\n") == 1


@pytest.mark.parametrize(
    ("flags", "library", "extra"),
    [
        (("--metrics", "127.0.0.1:0"), "prometheus_client", "metrics"),
        (("--otel", "http://127.0.0.1:9"), "opentelemetry", "otel"),
    ],
)
def test_metrics_and_traces_name_theirs(
    flags: tuple[str, ...],
    library: str,
    extra: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in [*sys.modules]:
        if name.partition(".")[0] == library or name in {
            "socks6.observability.metrics",
            "socks6.observability.traces",
        }:
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, library, None)
    assert main(["server", *flags]) == WRONG
    complaint = capsys.readouterr().err
    assert f" need {library}" in complaint
    assert complaint.endswith(f": pip install 'pysocks6[{extra}]' (in a clone: pip install '.[{extra}]')\n")
