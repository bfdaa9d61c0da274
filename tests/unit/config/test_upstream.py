"""Where the upstream's URL may come from."""

from pathlib import Path

import pytest

from socks6.config.upstream import find_upstream, find_upstreams, read_urls_file
from socks6.errors import ConfigurationError

URL = "socks6://alice:s3cret@proxy.example"


def test_nobody_names_one() -> None:
    assert find_upstream(None, None, {"SOCKS6_PROXY": ""}) is None


def test_the_environment_names_one() -> None:
    url = find_upstream(None, None, {"SOCKS6_PROXY": URL})
    assert url is not None
    assert url.password == "s3cret"


def test_a_file_goes_before_the_environment(tmp_path: Path) -> None:
    path = tmp_path / "upstream"
    path.write_text("# our proxy\n\nsocks6://other.example\n")
    url = find_upstream(None, str(path), {"SOCKS6_PROXY": URL})
    assert url is not None
    assert url.host == "other.example"


def test_the_command_line_goes_before_all(tmp_path: Path) -> None:
    url = find_upstream("socks6://first.example", str(tmp_path), {"SOCKS6_PROXY": URL})
    assert url is not None
    assert url.host == "first.example"


@pytest.mark.parametrize(
    ("via", "environment", "where"),
    [("mixed://proxy", {}, "--via: "), (None, {"SOCKS6_PROXY": "x"}, "SOCKS6_PROXY: ")],
)
def test_an_error_says_where_the_url_came_from(
    via: str | None, environment: dict[str, str], where: str
) -> None:
    with pytest.raises(ConfigurationError, match=f"^{where}"):
        find_upstream(via, None, environment)


@pytest.mark.parametrize("text", ["", "# nothing\n", "socks6://a\nsocks6://b\n"])
def test_a_file_holds_one_url(tmp_path: Path, text: str) -> None:
    path = tmp_path / "upstream"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match="URLs, not one"):
        find_upstream(None, str(path), {})


def test_where_several_may_be_named_a_line_names_each(tmp_path: Path) -> None:
    path = tmp_path / "upstream"
    path.write_text("socks6://a\nsocks6://b\n")
    named = [
        find_upstreams(None, file, environment)
        for file, environment in ((str(path), {}), (None, {"SOCKS6_PROXY": "socks6://a\n socks6://b\n"}))
    ]
    assert [[url.host for url in urls] for urls in named] == [["a", "b"], ["a", "b"]]
    with pytest.raises(ConfigurationError, match="SOCKS6_PROXY: holds 2 URLs, not one"):
        find_upstream(None, None, {"SOCKS6_PROXY": "socks6://a\nsocks6://b"})


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="upstream: No such file"):
        read_urls_file(tmp_path / "upstream")


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "upstream"
    path.write_bytes(b"\xff")
    with pytest.raises(ConfigurationError, match="not UTF-8"):
        read_urls_file(path)


def test_a_fault_in_a_file_keeps_the_password_to_itself(tmp_path: Path) -> None:
    path = tmp_path / "upstream"
    path.write_text("socks6://alice:s3cret@host:port\n")
    with pytest.raises(ConfigurationError) as caught:
        read_urls_file(path)
    assert "s3cret" not in str(caught.value)
