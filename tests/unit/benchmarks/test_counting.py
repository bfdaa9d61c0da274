"""What the report says of counts."""

from collections import Counter

from benchmarks.load.counting import report


def test_the_sums_and_with_details_what_was_called() -> None:
    counts = {
        "socks6": {"Python calls": Counter({"a.b": 3, "c.d": 1, "e.f": 0}), "system calls": Counter[str]()}
    }
    page = report(counts, {"cores": "2"}, details=True).splitlines()
    assert "| socks6 | 4 | - |" in page
    assert page.index("- 3 a.b") < page.index("- 1 c.d")
    assert "- 0 e.f" not in page
    assert "- cores: 2" in page
    assert "- 3 a.b" not in report(counts, {}, details=False)
