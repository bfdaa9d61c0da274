"""Lines of keys."""

import tomllib
from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from socks6.config.faults import Key
from socks6.config.toml_lines import MAX_DEPTH, lines_of

TEXT = '''\
# a comment with = and [brackets]
listen = ["a",  # ] in a comment
  "b]", 'c',
]
via = "x # no comment"

[limits]
connections = 5
"per source".most = 3
text = """
one [not.a.table]
two \\""" still"""
after = 1979-05-27T07:32:00Z

[[policy.rules]]
action = "deny"
[[policy.rules]]   # the second
action = "allow"
ports = [
  "1",

  "2-3",
]
[policy.rules.extra]
inline = { a = 1, b = { c = [1, 2] } }
'''


def line_of(text: str, key: Key) -> int:
    return lines_of(text, [key])[0]


def test_a_key_at_the_top() -> None:
    assert line_of(TEXT, ("via",)) == 5


def test_items_of_a_list() -> None:
    assert [line_of(TEXT, ("listen", index)) for index in range(3)] == [2, 3, 3]


def test_a_table_and_its_keys() -> None:
    assert line_of(TEXT, ("limits",)) == 7
    assert line_of(TEXT, ("limits", "connections")) == 8


def test_a_dotted_key_with_quotes() -> None:
    assert line_of(TEXT, ("limits", "per source", "most")) == 9


def test_what_follows_a_text_of_several_lines() -> None:
    assert line_of(TEXT, ("limits", "after")) == 13


def test_an_array_of_tables() -> None:
    assert line_of(TEXT, ("policy", "rules", 0, "action")) == 16
    assert line_of(TEXT, ("policy", "rules", 1)) == 17
    assert line_of(TEXT, ("policy", "rules", 1, "ports", 1)) == 22


def test_a_table_within_the_last_of_an_array() -> None:
    assert line_of(TEXT, ("policy", "rules", 1, "extra")) == 24
    assert line_of(TEXT, ("policy", "rules", 1, "extra", "inline", "b", "c", 1)) == 25


def test_a_key_that_is_not_there_has_the_line_of_what_is_around_it() -> None:
    assert line_of(TEXT, ("policy", "rules", 1, "hosts", 4)) == 17


def test_where_nothing_is_around_it_is_the_first_line() -> None:
    assert line_of(TEXT, ("absent",)) == 1


def test_several_keys_at_once() -> None:
    keys = [("limits", "after"), ("absent",), ("listen", 1), ("via",), ("listen", 1)]
    assert lines_of(TEXT, keys) == [13, 1, 3, 5, 3]
    assert lines_of(TEXT, []) == []


def test_all_items_of_a_long_list() -> None:  # it takes half a second; 12 s if each is looked for by itself
    text = "list = [\n" + '  "item",\n' * 400 + "]\n"
    assert lines_of(text, [("list", index) for index in range(400)]) == [*range(2, 402)]


def test_every_value_has_a_line() -> None:
    lines = lines_of(TEXT, [*_keys(tomllib.loads(TEXT), ())])
    assert max(lines) == TEXT.count("\n")


VALUES = st.recursive(
    st.integers() | st.booleans() | st.text("ab\"'\\\n#[]{},=é", max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("a.\"'\\ #[", max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.text("ab.\"'\\ =[]#", max_size=4), VALUES, max_size=4))
def test_any_document_has_each_of_its_keys_found(document: dict[str, object]) -> None:
    text = "".join(f"{_text(key)} = {_inline(value)}\n" for key, value in document.items())
    line = 1
    for key, value in document.items():
        end = line + _inline(value).count("\n")
        if _depth(value) <= MAX_DEPTH:
            assert line_of(text, (key,)) == line
        else:
            assert line <= line_of(text, (key,)) <= end
        inner = lines_of(text, [*_keys(value, (key,))])
        assert inner == sorted(inner)
        assert inner[-1] <= end
        line = end + 1


def _keys(value: object, key: Key) -> Iterator[Key]:
    if key:
        yield key
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _keys(inner, (*key, name))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _keys(inner, (*key, index))


def _depth(value: object) -> int:
    """Return how many lists and tables are within each other."""
    match value:
        case dict():
            return 1 + max(map(_depth, value.values()), default=0)
        case list():
            return 1 + max(map(_depth, value), default=0)
        case _:
            return 0


def _inline(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case dict():
            return "{" + ", ".join(f"{_text(key)} = {_inline(inner)}" for key, inner in value.items()) + "}"
        case list():
            return "[\n" + ",\n".join(map(_inline, value)) + "]"
        case str():
            return _text(value)
        case _:
            return str(value)


def _text(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
