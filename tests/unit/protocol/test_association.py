import pytest

from socks6.message.datagrams import (
    AssociationConfirmation,
    AssociationInitialization,
    DatagramError,
    decode_message,
)
from socks6.message.dialect import DRAFT_12, GO_212, DatagramLayout, Dialect
from socks6.message.framing import NoFraming, Socks5Framing, Socks6Framing
from socks6.protocol.association import AssociationState, ClientAssociation, ServerAssociation, opens_only

ID = 0x0123456789ABCDEF
DRAFT, CONSISTENT = DatagramLayout.DRAFT, DatagramLayout.CONSISTENT


def framing(layout: DatagramLayout, number: int = ID) -> Socks6Framing:
    return Socks6Framing(number, DRAFT_12, layout)


def association(*, reports: bool = False, dialect: Dialect = DRAFT_12) -> ServerAssociation:
    return ServerAssociation(ID, dialect, deadline=120.0, reports=reports)


def opened(*, layout: DatagramLayout = DRAFT, reports: bool = False) -> ServerAssociation:
    fresh = association(reports=reports)
    assert fresh.admit("path", framing(layout))
    fresh.data_to_send()
    return fresh


@pytest.mark.parametrize("dialect", [DRAFT_12, GO_212])
def test_an_association_tells_its_id_first(dialect: Dialect) -> None:
    fresh = association(dialect=dialect)
    message, _ = decode_message(fresh.data_to_send(), dialect)
    assert message == AssociationInitialization(association_id=ID)
    assert fresh.data_to_send() == b""


def test_the_first_datagram_is_confirmed_once() -> None:
    fresh = association()
    fresh.data_to_send()
    assert fresh.admit("path", framing(DRAFT))
    message, _ = decode_message(fresh.data_to_send())
    assert message == AssociationConfirmation(association_id=ID)
    assert fresh.state is AssociationState.CONFIRMED
    assert fresh.admit("path", framing(DRAFT))
    assert fresh.data_to_send() == b""


def test_another_id_opens_nothing() -> None:
    fresh = association()
    fresh.data_to_send()
    assert not fresh.admit("path", framing(DRAFT, ID + 1))
    assert fresh.state is AssociationState.AWAITING_FIRST
    assert fresh.data_to_send() == b""


def test_another_path_is_dropped_once_one_is_latched() -> None:
    running = opened()
    assert not running.admit("elsewhere", framing(DRAFT))
    assert running.path == "path"
    assert running.data_to_send() == b""
    assert running.admit("path", framing(DRAFT))


@pytest.mark.parametrize("layout", [DRAFT, CONSISTENT])
def test_answers_have_the_layout_of_the_first_datagram(layout: DatagramLayout) -> None:
    running = opened(layout=layout, reports=True)
    assert running.admit("path", framing(DRAFT if layout is CONSISTENT else CONSISTENT))
    answer = running.framing.build(running.framing.prefix("192.0.2.1", 53), b"data")
    assert answer is not None
    _, found = decode_message(answer)
    assert found is layout
    error = running.error("192.0.2.1", 53, 2, "192.0.2.7")
    assert error is not None
    assert decode_message(error) == (
        DatagramError(association_id=ID, host="192.0.2.1", port=53, code=2, reporter="192.0.2.7"),
        layout,
    )


def test_until_the_first_datagram_the_layout_is_the_dialects() -> None:
    assert association().layout is DRAFT
    assert association(dialect=GO_212).layout is CONSISTENT


def test_errors_are_for_those_who_asked() -> None:
    assert opened().error("192.0.2.1", 53, 2, "192.0.2.7") is None


def test_no_error_is_sent_before_the_confirmation() -> None:
    assert association(reports=True).error("192.0.2.1", 53, 2, "192.0.2.7") is None


def test_a_client_that_sends_nothing_in_time_is_closed() -> None:
    fresh = association()
    assert fresh.next_timeout() == 120.0
    fresh.handle_timeout(119.9)
    assert fresh.next_timeout() == 120.0
    fresh.handle_timeout(120.0)
    assert fresh.state is AssociationState.CLOSED
    assert fresh.next_timeout() is None
    assert not fresh.admit("path", framing(DRAFT))


def test_an_open_association_waits_for_ever() -> None:
    running = opened()
    assert running.next_timeout() is None
    running.handle_timeout(1e9)
    assert running.state is AssociationState.CONFIRMED


def test_a_closed_association_admits_nobody() -> None:
    running = opened(reports=True)
    running.close()
    running.close()
    assert not running.admit("path", framing(DRAFT))
    assert running.error("192.0.2.1", 53, 2, "192.0.2.7") is None


@pytest.mark.parametrize(
    ("host", "port", "size", "only"),
    [
        ("0.0.0.0", 0, 0, True),
        ("::", 0, 0, True),
        ("0.0.0.0", 0, 1, False),
        ("0.0.0.0", 53, 0, False),
        ("192.0.2.1", 0, 0, False),
        ("192.0.2.1", 53, 0, False),
    ],
)
def test_an_empty_datagram_to_nobody_only_opens(host: str, port: int, size: int, only: bool) -> None:
    assert opens_only(host, port, size) is only


def test_its_messages_can_be_traced() -> None:
    seen: list[tuple[str, object]] = []
    fresh = ServerAssociation(ID, DRAFT_12, deadline=120.0, trace=lambda *message: seen.append(message))
    fresh.admit("path", framing(DRAFT))
    assert seen == [
        (">", AssociationInitialization(association_id=ID)),
        (">", AssociationConfirmation(association_id=ID)),
    ]


def test_an_association_without_messages_is_its_first_paths() -> None:
    fresh, socks5 = ClientAssociation(Socks5Framing()), Socks5Framing()
    assert fresh.admit("path", socks5)
    assert fresh.framing is socks5
    assert fresh.admit("path", Socks5Framing())
    assert not fresh.admit("elsewhere", socks5)
    assert fresh.error("192.0.2.1", 53, 2, "192.0.2.7") is None
    fresh.close()
    assert not fresh.admit("path", socks5)


def test_other_framings_open_no_association_of_socks6() -> None:
    assert not association().admit("path", NoFraming())
