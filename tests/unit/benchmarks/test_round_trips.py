"""What the times of benchmarks/load/first_byte.py are made into, and its table of rows."""

from pathlib import Path

import pytest

from benchmarks.load.first_byte import PICTURES, QUICK_RESULTS, RESULTS, arguments
from benchmarks.load.round_trips.report import Measured, Results, aims, markdown, read, write
from benchmarks.load.round_trips.rows import COLOURS, PINGS, ROWS
from benchmarks.load.round_trips.site import CONVERTERS, SERVERS

ABOUT = {"date": "2026-11-25 04:00 UTC", "commit": "0123abc"}


def results(**milliseconds: float) -> Results:
    """Return results of 20 ms to the proxy and 10 ms behind it, and of so many for the named rows."""
    by_name = {name.replace("_", "-"): taken / 1e3 for name, taken in milliseconds.items()}
    return Results(
        delay=0.01,
        far_delay=0.005,
        ping=Measured.of(PINGS[0], [0.020, 0.019, 0.030]),
        far_ping=Measured.of(PINGS[1], [0.010]),
        rows=tuple(
            Measured.of(row, [by_name[row.name], by_name[row.name] - 0.001, by_name[row.name] + 0.005])
            if row.name in by_name
            else Measured.of(row, (), "it was not there")
            for row in ROWS
        ),
    )


def test_each_row_has_a_name_of_its_own_and_takes_round_trips() -> None:
    names = [row.name for row in (*PINGS, *ROWS)]
    assert len(set(names)) == len(names)
    assert all(row.near >= 1 and row.far >= 1 for row in ROWS)
    assert not set(SERVERS) & set(CONVERTERS)


def test_rows_of_a_group_stand_together() -> None:
    groups = [row.group for row in ROWS]
    changes = [group for number, group in enumerate(groups) if number == 0 or groups[number - 1] != group]
    assert len(set(changes)) == len(changes)


def test_round_trips_are_what_is_left_without_the_part_behind_the_proxy() -> None:
    found = results(socks6=84, socks6_token_tfo_tfo=31)
    plain, quickest = found.find("socks6"), found.find("socks6-token-tfo-tfo")
    assert plain is not None
    assert quickest is not None
    assert plain.median == pytest.approx(0.084)
    assert found.near_trips(plain) == pytest.approx((84 - 20) / 20)
    assert found.near_trips(quickest) == pytest.approx((31 - 10) / 20)
    assert found.find("socks5") is None


def test_aims_that_are_reached() -> None:
    found = results(
        socks5_password=123, socks5=103, socks6=83, socks6_token_tfo=41.9, socks6_token_tfo_tfo=31
    )
    assert [aim.reached for aim in aims(found)] == [True] * 4


def test_aims_that_are_missed() -> None:
    found = results(
        socks5_password=119, socks5=97, socks6=83, socks6_token_tfo=42.1, socks6_token_tfo_tfo=31.6
    )
    seen = list(aims(found))
    assert [aim.reached for aim in seen] == [False] * 4
    assert seen[0].seen == "42.1 ms instead of 40.0 ms, +5.2%"
    assert seen[2].seen == "0.70 fewer"


def test_more_round_trips_saved_than_promised_is_no_exact_number_either() -> None:
    assert [aim.reached for aim in aims(results(socks5=110, socks6=83))] == [False]


def test_the_page_shows_rows_aims_and_failures() -> None:
    page = markdown([results(socks5=103, socks6=83)], ABOUT)
    assert "| SOCKS 6 | plain | 3 | 3.15 | 83.0 (82.0 to 88.0) |" in page
    assert "- ✓ SOCKS 6, plain: 1 round trip fewer than SOCKS 5, plain (microsocks): 1.00 fewer" in page
    assert "| SOCKS 5 | plain (dante) | 4 | | failed: it was not there |" in page
    assert "- round trips: 20.0 ms to the proxy, 10.0 ms on to the origin" in page
    assert "- commit: 0123abc" in page


def test_what_is_written_can_be_read_again(tmp_path: Path) -> None:
    found = results(socks5=103, socks6=83)
    path = write(tmp_path, [found], ABOUT)
    assert path == tmp_path / "2026-11-25-first-byte.json"
    assert read(path) == [found]
    assert path.with_suffix(".md").read_text() == markdown([found], ABOUT)


def test_a_quick_run_overwrites_nothing_that_is_kept() -> None:
    quick, whole = arguments(["--quick"]), arguments([])
    assert (whole.output, whole.pictures) == (RESULTS, PICTURES)
    assert quick.output == quick.pictures == QUICK_RESULTS
    assert quick.repeat < whole.repeat


def test_every_group_has_a_colour_of_its_own() -> None:
    assert {row.group for row in ROWS} == set(COLOURS)
    assert len(set(COLOURS.values())) == len(COLOURS)
