"""Which services of PAM can be asked. What PAM answers is in test_pam_helper.py and tests/e2e/test_authenticators.py."""

from pathlib import Path

import pytest

from socks6.errors import ConfigurationError
from socks6.proxy.authentication import pam
from socks6.proxy.authentication.command import CommandAuthenticator
from socks6.proxy.authentication.pam import PamAuthenticator, check_service


def test_services_are_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pam, "SERVICE_FOLDERS", (str(tmp_path / "none"), str(tmp_path)))
    (tmp_path / "socks6").touch()
    check_service("socks6")
    for name, fault in (
        ("other", "there is no PAM service 'other'"),
        ("../socks6", "no name"),
        ("", "no name"),
    ):
        with pytest.raises(ConfigurationError, match=fault):
            check_service(name)


def test_without_the_extra_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pam.importlib.util, "find_spec", lambda name: None)  # type: ignore[attr-defined]
    with pytest.raises(ConfigurationError, match=r"pip install 'pysocks6\[pam\]'"):
        check_service("login")


def test_the_helper_is_what_is_asked() -> None:
    authenticator = PamAuthenticator("login")
    assert (authenticator.name, authenticator.concurrency) == ("pam", 16)
    assert authenticator.key != CommandAuthenticator(["login"]).key
    words = authenticator.key
    assert isinstance(words, tuple)
    assert words[1:] == ("-I", str(Path(pam.__file__).with_name("pam_helper.py")), "login", "5")
