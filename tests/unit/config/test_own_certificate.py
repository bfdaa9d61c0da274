"""The certificate that a server makes for itself."""

import os
import re
import stat
from pathlib import Path
from types import NoneType

import pytest
from cryptography import x509

from socks6.cli.certificates import pin_in
from socks6.config.own_certificate import state_folder, with_certificate
from socks6.config.server import ServerConfig
from socks6.errors import ConfigurationError
from socks6.net.encryption.contexts import TLS_DEFAULTS, TlsParameters, server_context
from socks6.net.encryption.issue import read_certificate
from socks6.net.url import ProxyUrl
from socks6.proxy.settings import Settings
from tests.kit.certificates import write_certificate
from tests.kit.failing import each_failing


def config(*urls: str, tls: TlsParameters = TLS_DEFAULTS) -> ServerConfig:
    return ServerConfig(listen=tuple(map(ProxyUrl.parse_listener, urls)), settings=Settings(tls=tls))


def test_it_is_made_once_and_used_again(tmp_path: Path) -> None:
    environment = {"STATE_DIRECTORY": str(tmp_path / "a" / "b")}
    wanting = config("socks6+tls://127.0.0.1:0")
    first, path, made = with_certificate(wanting, environment)
    assert made
    assert path == str(tmp_path / "a" / "b" / "certificate.pem")
    server_context(first.settings.tls)
    pin = pin_in(path)
    second, again, made = with_certificate(wanting, environment)
    assert not made
    assert (second.settings, again, pin_in(path)) == (first.settings, path, pin)


def test_only_its_owner_can_read_the_key(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        made, _, _ = with_certificate(
            config(
                "mixed+tls://:0",
            ),
            {"STATE_DIRECTORY": str(tmp_path / "x")},
        )
    finally:
        os.umask(before)
    assert made.settings.tls.key is not None
    assert stat.S_IMODE(os.stat(made.settings.tls.key).st_mode) == 0o600
    assert stat.S_IMODE(os.stat(tmp_path / "x").st_mode) == 0o700


def test_who_has_a_certificate_or_needs_none_gets_none(tmp_path: Path) -> None:
    files = write_certificate(tmp_path)
    environment = {"STATE_DIRECTORY": str(tmp_path / "x")}
    for content in (
        config("socks6://127.0.0.1:0"),
        config(f"socks6+tls://127.0.0.1:0?{files.listener_query}"),
        config("socks6+tls://127.0.0.1:0", tls=TlsParameters(certificate=files.certificate, key=files.key)),
    ):
        assert with_certificate(content, environment) == (content, "", False)
    assert not (tmp_path / "x").exists()


def test_what_else_is_said_of_tls_stays(tmp_path: Path) -> None:
    said = config("socks6+tls://127.0.0.1:0", tls=TlsParameters(min_version="1.2", client_ca="/etc/ca.pem"))
    made, _, _ = with_certificate(said, {"STATE_DIRECTORY": str(tmp_path)})
    assert (made.settings.tls.min_version, made.settings.tls.client_ca) == ("1.2", "/etc/ca.pem")


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match=r"cannot make a certificate, .*file/x: Not a directory"):
        with_certificate(
            config("socks6+tls://127.0.0.1:0"), {"STATE_DIRECTORY": str(tmp_path / "file" / "x")}
        )


def test_whichever_call_fails_there_are_both_files_or_none(tmp_path: Path) -> None:
    environment = {"STATE_DIRECTORY": str(tmp_path / "state")}
    held = len(os.listdir("/dev/fd"))
    listen = config("socks6+tls://127.0.0.1:0")
    for what, error in each_failing("file", lambda: with_certificate(listen, environment)):
        files = os.listdir(tmp_path / "state") if (tmp_path / "state").exists() else []
        assert isinstance(error, ConfigurationError if what else NoneType), what
        assert len(files) == (0 if error else 2), what
        assert len(os.listdir("/dev/fd")) <= held, what  # fewer, if what an earlier test left was collected
        for name in files:
            (tmp_path / "state" / name).unlink()


def test_it_names_nothing(tmp_path: Path) -> None:
    _, path, _ = with_certificate(
        config("socks6+tls://127.0.0.1:0", "mixed+tls://localhost:0"), {"STATE_DIRECTORY": str(tmp_path)}
    )
    certificate = read_certificate(path)
    assert re.fullmatch("CN=[0-9a-f]{16}", certificate.subject.rfc4514_string())
    assert certificate.issuer == certificate.subject
    with pytest.raises(x509.ExtensionNotFound):
        certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)


@pytest.mark.parametrize(
    ("environment", "user", "folder"),
    [
        ({"STATE_DIRECTORY": "/var/lib/x:/other", "XDG_STATE_HOME": "/y"}, 0, "/var/lib/x"),
        ({"XDG_STATE_HOME": "/y"}, 0, "/y/socks6"),
        ({}, 0, "/var/lib/socks6"),
        ({}, 1000, f"{Path.home()}/.local/state/socks6"),
    ],
)
def test_where_it_is_kept(
    environment: dict[str, str], user: int, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: user)
    assert str(state_folder(environment)) == folder


def test_an_account_without_a_home_folder_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_entry(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr("os.geteuid", lambda: 54321)
    monkeypatch.setattr("pwd.getpwuid", no_entry)
    with pytest.raises(ConfigurationError, match=r"no home folder .* set STATE_DIRECTORY .*--tls-cert"):
        state_folder({})
