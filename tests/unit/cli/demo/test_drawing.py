"""Pictures of exchanges."""

from socks6.cli.demo.drawing import Arrow, draw


def test_messages_both_ways_between_three() -> None:
    arrows = [
        Arrow(time=0, source=0, target=1, words=("hello", "  to bob"), label="8 bytes"),
        Arrow(time=1.25, source=1, target=2, words=("hello",)),
        Arrow(time=12.34, source=2, target=1, words=("a rather long answer",), label="20 bytes"),
        Arrow(time=13, source=1, target=0, words=(), label="end"),
    ]
    assert draw(["alice", "bob", "carol"], arrows) == [
        "ms    alice           bob                   carol",
        "        | hello        |                      |",
        "        |   to bob     |                      |",
        "0.0     |-- 8 bytes -->|                      |",
        "        |              | hello                |",
        "1.2     |              |--------------------->|",
        "        |              | a rather long answer |",
        "12.3    |              |<----- 20 bytes ------|",
        "13.0    |<--- end -----|                      |",
        "        |              |                      |",
    ]


def test_both_ways_at_once() -> None:
    arrow = Arrow(time=5, source=0, target=1, words=("then",), label="1 up, 2 down", both_ways=True)
    picture = draw(["a", "b"], [arrow])
    assert picture[2].endswith("|<= 1 up, 2 down =>|")


def test_no_messages() -> None:
    assert draw(["a", "b"], []) == ["ms    a              b", "      |              |"]


def test_columns_are_as_wide_as_names() -> None:
    (header, bars) = draw(["a very long name indeed", "another very long name"], [])
    assert header == "ms    a very long name indeed another very long name"
    assert bars.count("|") == 2
