"""What is wrong with a configuration, and where."""

import pytest

from socks6.config.faults import Fault, InvalidConfiguration, Key, collect_error, error_prefix, key_text
from socks6.errors import ConfigurationError


@pytest.mark.parametrize(
    ("key", "text"),
    [
        (("open",), "open"),
        (("policy", "rules", 0, "hosts", 1), "policy.rules[0].hosts[1]"),
        (("users", "plain", "a:b"), 'users.plain."a:b"'),
    ],
)
def test_keys_as_people_write_them(key: Key, text: str) -> None:
    assert key_text(key) == text


def fail() -> None:
    raise ConfigurationError("no")


def test_errors_are_collected_under_their_key() -> None:
    faults: list[Fault] = []
    with collect_error(("open",), faults):
        fail()
    assert faults == [Fault(key=("open",), what="no")]


def test_an_error_gets_its_place_before_it() -> None:
    with pytest.raises(ConfigurationError, match=r"^--via: no$"), error_prefix("--via"):
        raise ConfigurationError("no")


def test_an_invalid_configuration_has_a_line_for_each_fault() -> None:
    assert str(InvalidConfiguration("a:1: x: y", "a:2: z: w")) == "a:1: x: y\na:2: z: w"
