"""Lines of keys."""

import tomllib
from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from socks6.config.faults import Key
from socks6.config.toml_lines import line_of, locate_keys

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


def test_a_key_at_the_top() -> None:
    assert locate_keys(TEXT)["via",] == 5


def test_items_of_a_list() -> None:
    lines = locate_keys(TEXT)
    assert [lines["listen", index] for index in range(3)] == [2, 3, 3]


def test_a_table_and_its_keys() -> None:
    lines = locate_keys(TEXT)
    assert lines["limits",] == 7
    assert lines["limits", "connections"] == 8


def test_a_dotted_key_with_quotes() -> None:
    assert locate_keys(TEXT)["limits", "per source", "most"] == 9


def test_what_follows_a_text_of_several_lines() -> None:
    assert locate_keys(TEXT)["limits", "after"] == 13


def test_an_array_of_tables() -> None:
    lines = locate_keys(TEXT)
    assert lines["policy", "rules", 0, "action"] == 16
    assert lines["policy", "rules", 1] == 17
    assert lines["policy", "rules", 1, "ports", 1] == 22


def test_a_table_within_the_last_of_an_array() -> None:
    lines = locate_keys(TEXT)
    assert lines["policy", "rules", 1, "extra"] == 24
    assert lines["policy", "rules", 1, "extra", "inline", "b", "c", 1] == 25


def test_a_key_that_is_not_there_has_the_line_of_what_is_around_it() -> None:
    lines = locate_keys(TEXT)
    assert line_of(lines, ("policy", "rules", 1, "hosts", 4)) == 17


def test_nothing_around_has_no_line() -> None:
    assert line_of(locate_keys(TEXT), ("absent",)) is None


def test_every_value_has_a_line() -> None:
    lines = locate_keys(TEXT)
    assert set(_keys(tomllib.loads(TEXT), ())) == set(lines)


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
    assert set(_keys(tomllib.loads(text), ())) == set(locate_keys(text))


def _keys(value: object, key: Key) -> Iterator[Key]:
    if key:
        yield key
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _keys(inner, (*key, name))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _keys(inner, (*key, index))


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
