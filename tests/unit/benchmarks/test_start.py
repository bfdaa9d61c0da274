"""What the report says of starts."""

from benchmarks.load.start import ROWS, Place, Start, report


def test_the_best_and_the_median_in_milliseconds() -> None:
    starts = [Start(wall=wall, cpu=wall / 2) for wall in (0.3, 0.1, 0.2)]
    page = report({"server": starts, "other": []}, {"other": "not there"}, {"cores": "2"}).splitlines()
    assert "| server | 100 | 200 | 50 | 100 |" in page
    assert "- other failed: not there" in page
    assert "- cores: 2" in page
    assert not any(line.startswith("| other") for line in page)


def test_commands_name_the_ports_that_they_are_given() -> None:
    place = Place(origin=1001, server=1002, port=1003)
    forward = next(row for row in ROWS if row.name == "forward")
    assert forward.command(place)[3:] == [
        "forward",
        "--via",
        "socks6://127.0.0.1:1002",
        "1003",
        "127.0.0.1:1001",
    ]
