"""Code points as operators write them."""

import pytest

from socks6.errors import ConfigurationError
from socks6.policy import stack


@pytest.mark.parametrize(("text", "value"), [("0", 0), ("63", 63), ("ef", 46), ("EF", 46)])
def test_a_code_point_is_a_number_or_a_name(text: str, value: int) -> None:
    assert stack._parse_dscp(text) == value


@pytest.mark.parametrize("text", ["64", "-1", "fe", "", "²"])
def test_nothing_else_is(text: str) -> None:
    with pytest.raises(ConfigurationError, match="is no code point"):
        stack._parse_dscp(text)
