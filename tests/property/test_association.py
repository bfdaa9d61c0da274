"""Whatever comes, and in whatever order: an association has one path, one layout and one confirmation."""

from hypothesis import given
from hypothesis import strategies as st

from socks6.message.datagrams import AssociationConfirmation, AssociationInitialization, decode_message
from socks6.message.dialect import DRAFT_12, GO_212, DatagramLayout
from socks6.message.framing import Socks6Framing
from socks6.protocol.association import AssociationState, ServerAssociation

ID = 7
ARRIVALS = st.lists(
    st.tuples(st.sampled_from((ID, ID, 8)), st.sampled_from("abc"), st.sampled_from(DatagramLayout))
)


@given(st.sampled_from((DRAFT_12, GO_212)), ARRIVALS, st.integers(0, 20), st.booleans())
def test_one_path_and_one_confirmation(
    dialect: object, arrivals: list[tuple[int, str, DatagramLayout]], late: int, reports: bool
) -> None:
    chosen = GO_212 if dialect is GO_212 else DRAFT_12
    association = ServerAssociation(ID, chosen, deadline=100.0, reports=reports)
    said = association.data_to_send()
    admitted: list[tuple[str, DatagramLayout]] = []
    for number, (association_id, path, layout) in enumerate(arrivals):
        if number == late:
            association.handle_timeout(100.0)
        assert not association.error("192.0.2.1", 9, 1, "192.0.2.2") or (admitted and reports)
        if association.admit(path, Socks6Framing(association_id, chosen, layout)):
            assert association_id == ID
            admitted.append((path, layout))
        said += association.data_to_send()
    assert len({path for path, _ in admitted}) <= 1
    assert decode_message(said[:12], chosen)[0] == AssociationInitialization(association_id=ID)
    if admitted:
        assert (association.path, association.layout) == admitted[0]
        assert association.state is AssociationState.CONFIRMED
        assert decode_message(said[12:], chosen)[0] == AssociationConfirmation(association_id=ID)
        assert len(said) == 24
    else:
        assert len(said) == 12
