"""The public names, which are imported when they are first used."""

import subprocess
import sys

import pytest

import socks6


def test_every_public_name_is_there() -> None:
    for name in socks6.__all__:
        assert getattr(socks6, name).__module__.startswith("socks6.")


def test_every_public_name_is_told() -> None:
    assert set(socks6.__all__) <= set(dir(socks6))


def test_another_name_is_not_there() -> None:
    with pytest.raises(AttributeError, match="module 'socks6' has no attribute 'Nothing'"):
        _ = getattr(socks6, "Nothing")  # noqa: B009 - mypy knows that there is none


def test_the_package_alone_is_light() -> None:
    script = "import socks6, sys; print([name for name in ('asyncio', 'ssl', 'h11') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert done.stdout == "[]\n"
