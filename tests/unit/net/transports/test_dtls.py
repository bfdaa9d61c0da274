"""DTLS's records and conversations."""

import pytest

from socks6.errors import CertificateRefused
from socks6.net.encryption.certificates import parse_pin
from socks6.net.encryption.contexts import TlsParameters
from socks6.net.transports.dtls import (
    FLIGHT_BYTES,
    MAX_RECORD_BYTES,
    ClientHello,
    DtlsConnector,
    cut,
    hello_verify_request,
    is_clear,
    is_one_record,
    read_client_hello,
)
from tests.kit.certificates import certificate, pin_of_file
from tests.kit.dtls import Couple, goes_on, trusted

RANDOM = bytes(range(32))


def record(size: int, kind: int = 22, epoch: int = 0) -> bytes:
    return bytes((kind, 0xFE, 0xFD)) + epoch.to_bytes(2) + bytes(6) + size.to_bytes(2) + bytes(size)


def client_hello(
    *, cookie: bytes = b"", kind: int = 1, epoch: int = 0, offset: int = 0, part: int | None = None
) -> bytes:
    body = b"\xfe\xfd" + RANDOM + b"\x04abcd" + bytes((len(cookie),)) + cookie + b"\0\2\xc0\x2b\1\0"
    size = len(body)
    message = (
        bytes((kind,)) + size.to_bytes(3) + b"\0\0" + offset.to_bytes(3)
        + (size if part is None else part).to_bytes(3) + body
    )  # fmt: skip
    return b"\x16\xfe\xff" + epoch.to_bytes(2) + b"\0\0\0\0\0\7" + len(message).to_bytes(2) + message


def test_flights_are_cut_at_their_records() -> None:
    a, b, c = record(100), record(200), record(300)
    assert cut(a + b + c, 326) == [a + b, c]
    assert cut(a + b + c, 325) == [a, b, c]
    assert cut(a + b + c, 1000) == [a + b + c]
    assert cut(b"", 100) == []


def test_record_longer_than_a_datagram_goes_by_itself() -> None:
    a, b, c = record(10), record(500), record(10)
    assert cut(a + b + c, 100) == [a, b, c]


def test_flight_that_ends_within_a_record_is_cut_all_the_same() -> None:
    a, b = record(10), record(20)[:-5]
    assert cut(a + b, 1000) == [a + b]
    assert cut(a + b[:5], 20) == [a, b[:5]]


def test_one_record_is_told_from_several_and_from_a_part() -> None:
    assert is_one_record(record(10))
    assert is_one_record(record(0))
    assert not is_one_record(record(10) + record(1))
    assert not is_one_record(record(10)[:-1])
    assert not is_one_record(b"\x17")


def test_records_before_there_were_keys_are_clear() -> None:
    assert is_clear(record(1))
    assert not is_clear(record(1, epoch=1))


def test_client_hello_is_read() -> None:
    assert read_client_hello(client_hello(cookie=b"cookie")) == ClientHello(
        sequence=b"\0\0\0\0\0\7", random=RANDOM, cookie=b"cookie"
    )


@pytest.mark.parametrize(
    "datagram",
    [
        b"",
        b"\x16",
        client_hello()[:-8],
        client_hello()[:40],
        client_hello(kind=2),
        client_hello(epoch=1),
        client_hello(offset=1),
        client_hello(part=5),
        b"\x17" + client_hello()[1:],
        b"\x16\x03" + client_hello()[2:],
    ],
)
def test_anything_else_is_no_client_hello(datagram: bytes) -> None:
    assert read_client_hello(datagram) is None


def test_verify_request_repeats_the_sequence_number_and_holds_the_cookie() -> None:
    hello = ClientHello(sequence=b"\0\0\0\0\0\7", random=RANDOM, cookie=b"")
    assert hello_verify_request(hello, b"cake").hex(" ") == (
        "16 fe ff 00 00 00 00 00 00 00 07 00 13 03 00 00 07 00 00 00 00 00 00 00 07 fe ff 04 63 61 6b 65"
    )


PIN = bytes(32)


def test_data_goes_both_ways() -> None:
    with trusted() as (files, said):
        couple = Couple(files, DtlsConnector("localhost", said))
        assert couple.client.established
        assert couple.server.established
        assert couple.server.receive(couple.client.encrypt(b"ping")) == [b"ping"]
        assert couple.client.receive(couple.server.encrypt(b"pong")) == [b"pong"]
        cipher = couple.client._tls.get_cipher_name() or ""
        assert cipher.startswith("ECDHE-")
        assert "GCM" in cipher


def test_flights_fit_packets() -> None:
    with trusted(*(f"host-{number}.a-rather-long-domain-name.example" for number in range(60))) as (
        files,
        said,
    ):
        couple = Couple(files, DtlsConnector("host-7.a-rather-long-domain-name.example", said))
        assert couple.client.established
        assert sum(couple.sizes) > 2 * FLIGHT_BYTES
        assert max(couple.sizes) <= FLIGHT_BYTES


def test_longest_data_fit_a_record() -> None:
    with trusted() as (files, said):
        couple = Couple(files, DtlsConnector("localhost", said))
        data = bytes(MAX_RECORD_BYTES)
        encrypted = couple.client.encrypt(data)
        assert len(encrypted) == len(data) + couple.client.expansion
        assert couple.server.receive(encrypted) == [data]


def test_several_records_in_a_datagram_are_all_read() -> None:
    with trusted() as (files, said):
        couple = Couple(files, DtlsConnector("localhost", said))
        both = couple.client.encrypt(b"one") + couple.client.encrypt(b"two")
        assert couple.server.receive(both) == [b"one", b"two"]


def test_datagrams_may_be_lost_doubled_and_overtake_each_other() -> None:
    with trusted() as (files, said):
        couple = Couple(files, DtlsConnector("localhost", said))
        first, second, _, fourth = (couple.client.encrypt(name) for name in (b"1", b"2", b"3", b"4"))
        assert couple.server.receive(fourth) == [b"4"]
        assert couple.server.receive(first) == [b"1"]
        assert couple.server.receive(first) == []  # a replay
        assert couple.server.receive(second) == [b"2"]
        assert not couple.server.over


def test_strangers_records_change_nothing() -> None:
    with trusted() as (files, said):
        couple = Couple(files, DtlsConnector("localhost", said))
        other = Couple(files, DtlsConnector("localhost", said))
        fatal_alert_in_clear = bytes.fromhex("15 fefd 0000 000000000009 0002 0228")
        for datagram in (
            other.client.encrypt(b"not yours"),
            couple.client.encrypt(b"changed")[:-1] + b"\0",
            fatal_alert_in_clear,
            b"\x17",
            b"\x16\xfe\xfd\0\0",
            b"\x14" * 40,
            b"",
        ):
            assert couple.server.receive(datagram) == []
        assert not couple.server.over
        assert couple.server.receive(couple.client.encrypt(b"still here")) == [b"still here"]


def test_end_is_told() -> None:
    with trusted() as (files, said):
        couple = Couple(files, DtlsConnector("localhost", said))
        couple.client.close()
        couple.client.close()
        couple.carry()
        assert couple.server.over
        assert couple.server.failure is None
        assert couple.client.encrypt(b"too late") == b""
        assert couple.server.encrypt(b"too late") == b""
        assert couple.server.receive(b"\x17") == []
        assert couple.server.next_timeout() is None


def test_second_connection_goes_on_with_the_first_ones_keys() -> None:
    with trusted() as (files, said):
        connector = DtlsConnector("localhost", said)
        couple = Couple(files, connector)
        first = couple.client
        assert connector.check(first) is None
        sizes, couple.sizes = couple.sizes, []
        couple.part()
        couple.meet()
        assert couple.client.established
        assert goes_on(couple.client, first)
        assert connector.check(couple.client) is None
        assert sum(couple.sizes) < sum(sizes)
        assert couple.server.receive(couple.client.encrypt(b"again")) == [b"again"]


def test_lost_flight_is_sent_again() -> None:
    with trusted() as (files, said):
        couple = Couple(files, DtlsConnector("localhost", said))
        client = couple.connector.call()
        (hello,) = client.datagrams_to_send()
        due = client.next_timeout()
        assert due is not None
        assert 0.5 < due <= 1.0
        client.handle_timeout()
        assert client.datagrams_to_send() == []  # it is not time yet
        assert hello
        assert not client.over


@pytest.mark.parametrize(
    ("host", "wrong", "complaint"),
    [
        ("localhost", {"expired": True}, "certificate has expired"),
        ("localhost", {"issuer": "other"}, "unable to get local issuer certificate"),
        ("elsewhere.example", {}, "not valid for 'elsewhere.example'"),
        ("127.0.0.2", {}, "not valid for '127.0.0.2'"),
    ],
)
def test_wrong_certificate_is_refused(host: str, wrong: dict[str, object], complaint: str) -> None:
    with certificate() as good, certificate(**wrong) as files:
        connector = DtlsConnector(host, TlsParameters(ca=good.ca))
        couple = Couple(files, connector)
        failure = couple.client.failure or connector.check(couple.client)
        assert isinstance(failure, CertificateRefused)
        assert complaint in str(failure)
        if couple.client.failure is not None:
            assert couple.server.failure is not None  # it was told
            assert not couple.server.established


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_right_certificate_is_not(host: str) -> None:
    with trusted() as (files, said):
        connector = DtlsConnector(host, said)
        assert connector.check(Couple(files, connector).client) is None


def test_systems_roots_do_not_know_everybody() -> None:
    with trusted() as (files, _):
        couple = Couple(files, DtlsConnector("localhost"))
        assert isinstance(couple.client.failure, CertificateRefused)


def test_pin_is_enough_and_a_wrong_one_is_not() -> None:
    with trusted("other.example") as (files, _):
        pinned = DtlsConnector(
            "localhost", TlsParameters(pins=(PIN, parse_pin(pin_of_file(files.certificate))))
        )
        assert pinned.check(Couple(files, pinned).client) is None
        mistaken = DtlsConnector("localhost", TlsParameters(pins=(PIN,)))
        failure = mistaken.check(Couple(files, mistaken).client)
        assert isinstance(failure, CertificateRefused)
        assert "pin" in str(failure)


def test_pin_and_authority_must_both_hold() -> None:
    with trusted() as (files, _):
        connector = DtlsConnector("localhost", TlsParameters(pins=(PIN,), ca=files.ca))
        assert "pin" in str(connector.check(Couple(files, connector).client))


def test_insecure_client_takes_anybody() -> None:
    with trusted("other.example") as (files, _):
        connector = DtlsConnector("localhost", TlsParameters(insecure=True))
        assert connector.check(Couple(files, connector).client) is None


@pytest.mark.parametrize("sni", ["proxy.example", "proxy.example."])
def test_sni_is_the_name_that_counts(sni: str) -> None:
    with trusted("proxy.example") as (files, said):
        connector = DtlsConnector("192.0.2.1", TlsParameters(ca=said.ca, sni=sni))
        assert connector.check(Couple(files, connector).client) is None


def test_clients_certificate_names_the_user() -> None:
    with trusted() as (files, said), certificate("alice@example.com", stem="user") as user:
        connector = DtlsConnector(
            "localhost", TlsParameters(ca=said.ca, certificate=user.certificate, key=user.key)
        )
        couple = Couple(files, connector, client_ca=files.ca)
        assert couple.server.certified_user == "alice@example.com"
        first = couple.client
        connector.check(first)
        couple.part()
        couple.meet()
        assert goes_on(couple.client, first)
        assert couple.server.certified_user == "alice@example.com"


def test_client_without_a_certificate_is_refused_where_one_is_wanted() -> None:
    with trusted() as (files, said):
        couple = Couple(files, DtlsConnector("localhost", said), client_ca=files.ca)
        assert isinstance(couple.server.failure, CertificateRefused)
        assert "the client has no certificate" in str(couple.server.failure)
        assert couple.client.failure is not None


def test_rubbish_instead_of_a_hello_fails() -> None:
    with trusted() as (files, said):
        couple = Couple(files, DtlsConnector("localhost", said))
        for rubbish in (b"\x16", bytes(100), as_cut := couple.connector.call().datagrams_to_send()[0][:60]):
            answering = type(couple.server).answering(couple.context, rubbish)
            assert answering.failure is not None, as_cut
            assert answering.over
