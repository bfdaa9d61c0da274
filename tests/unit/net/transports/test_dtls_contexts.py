"""Contexts of DTLS: what their files may lack, and what is said where the extra does."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from socks6.errors import ConfigurationError
from socks6.net.encryption.contexts import ReloadingContext, TlsParameters
from socks6.net.transports.dtls_contexts import (
    NO_EXTRA,
    available,
    client_context,
    server_context,
)
from tests.kit.certificates import write_certificate


def test_key_may_stand_in_the_certificates_file(tmp_path: Path) -> None:
    files = write_certificate(tmp_path)
    both = tmp_path / "both.pem"
    both.write_bytes(Path(files.certificate).read_bytes() + Path(files.key).read_bytes())
    server_context(TlsParameters(certificate=str(both)))


def test_files_that_will_not_do_are_named(tmp_path: Path) -> None:
    files = write_certificate(tmp_path)
    other = write_certificate(tmp_path, stem="other")
    nothing = str(tmp_path / "nothing")
    for said in (
        TlsParameters(certificate=nothing, key=files.key),
        TlsParameters(certificate=files.certificate, key=nothing),
        TlsParameters(certificate=files.certificate),
        TlsParameters(certificate=files.key, key=files.key),
        TlsParameters(certificate=files.certificate, key=other.key),
        replace(files.server, client_ca=nothing),
    ):
        with pytest.raises(ConfigurationError, match=str(tmp_path)):
            server_context(said)
    with pytest.raises(ConfigurationError, match="nothing"):
        client_context(TlsParameters(ca=nothing))


def test_nobody_is_asked_for_a_password(tmp_path: Path) -> None:
    files = write_certificate(tmp_path)
    key = load_pem_private_key(Path(files.key).read_bytes(), None)
    locked = tmp_path / "locked.key"
    locked.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    )
    with pytest.raises(ConfigurationError, match=r"locked\.key: .*[Pp]assword"):
        server_context(TlsParameters(certificate=files.certificate, key=str(locked)))


def test_new_files_make_a_new_context(tmp_path: Path) -> None:
    files = write_certificate(tmp_path)
    contexts = ReloadingContext(files.server, server_context)
    first = contexts.current()
    assert contexts.current() is first


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert available()
    monkeypatch.setitem(sys.modules, "OpenSSL", None)
    assert not available()
    with pytest.raises(ConfigurationError, match="needs an extra") as raised:
        client_context(TlsParameters())
    assert str(raised.value) == NO_EXTRA
