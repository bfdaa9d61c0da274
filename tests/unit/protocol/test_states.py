"""The transition tables: what must hold for every conversation."""

import pytest

from socks6.protocol.states import (
    CLIENT_TRANSITIONS,
    SERVER_TRANSITIONS,
    ClientState,
    ClientStep,
    ServerState,
    ServerStep,
)


def test_every_server_state_can_be_reached() -> None:
    reached = {ServerState.AWAITING_REQUEST, *SERVER_TRANSITIONS.values()}
    assert reached == set(ServerState)


def test_every_client_state_can_be_reached() -> None:
    reached = {ClientState.AWAITING_AUTHENTICATION, *CLIENT_TRANSITIONS.values()}
    assert reached == set(ClientState)


def test_every_step_is_used() -> None:
    assert {step for _, step in SERVER_TRANSITIONS} == set(ServerStep)
    assert {step for _, step in CLIENT_TRANSITIONS} == set(ClientStep)


@pytest.mark.parametrize("final", [ServerState.CLOSING, ServerState.STREAMING])
def test_the_servers_last_states_are_final(final: ServerState) -> None:
    assert final not in {state for state, _ in SERVER_TRANSITIONS}


@pytest.mark.parametrize("final", [ClientState.CLOSED, ClientState.STREAMING])
def test_the_clients_last_states_are_final(final: ClientState) -> None:
    assert final not in {state for state, _ in CLIENT_TRANSITIONS}


def test_nobody_operates_unauthenticated() -> None:
    ways = {(state, step) for (state, step), to in SERVER_TRANSITIONS.items() if to is ServerState.OPERATING}
    assert ways == {(ServerState.AUTHENTICATED, ServerStep.ACCEPT)}
