"""The token of those who come by HTTP."""

from pathlib import Path

import pytest

from socks6.admin.listeners import HttpListener, read_token
from socks6.errors import ConfigurationError


def test_a_token_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "state" / "admin.token"
    token = read_token(path)
    assert len(token) >= 40
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_token(path) == token
    assert token not in repr(HttpListener(host="::1", port=1, token=token))


def test_a_token_that_others_read_or_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("x" * 30)
    path.chmod(0o640)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        read_token(path)
    path.chmod(0o600)
    for text in (b"", b"short", b"with a space in its middle", b"\xff" * 30):
        path.write_bytes(text)
        with pytest.raises(ConfigurationError, match="no token"):
            read_token(path)
    with pytest.raises(ConfigurationError, match="Is a directory"):
        read_token(tmp_path)
