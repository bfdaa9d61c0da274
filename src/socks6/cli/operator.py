"""What the signals of an operator do to a running server."""

import dataclasses
from collections.abc import Callable
from typing import Final

from socks6.cli import complain
from socks6.cli.notify import notify
from socks6.config.choices import Choices
from socks6.config.plan import Plan
from socks6.errors import ConfigurationError
from socks6.proxy.service import Server
from socks6.proxy.worker import ServerWorker

# What a reload takes over; a change of anything else counts after a restart.
RELOADED: Final = frozenset({"users", "users_file", "allow_private", "rules", "stack"})


class Operator:
    """Carries them out. `choices` are those that the server runs with, `read` reads them anew from their sources."""

    def __init__(
        self,
        server: Server,
        worker: ServerWorker,
        plan: Plan,
        choices: Choices,
        read: Callable[[], Choices],
    ) -> None:
        self._server = server
        self._worker = worker
        self._plan = plan
        self._choices = choices
        self._read = read
        self._stopping = False

    def stop(self) -> None:
        """Stop when what runs has ended or had its time; at once when asked again."""
        if self._stopping:
            self._server.abort()
            return
        self._stopping = True
        notify("STOPPING=1")
        self._server.stop()

    def reload(self) -> None:
        """Use the users and the policy that the files name now for new connections.

        If anything is wrong with them, it is told and nothing changes. Listeners, limits and all else stay as they are;
        what has changed of them is named, since it needs a restart.
        """
        try:
            choices = self._read()
            plan = self._renewed(choices)
        except ConfigurationError as error:
            complain(*(f"not reloaded: {line}" for line in str(error).splitlines()))
            return
        self._worker.replace(authenticator=plan.authenticator, policy=plan.policy)
        complain("reloaded")
        if untaken := _needs_restart(self._choices, choices):
            complain(f"changed, but needs a restart: {', '.join(untaken)}")

    def _renewed(self, read: Choices) -> Plan:
        running = self._plan
        choices = dataclasses.replace(
            read, listen=running.listen, open_to_all=running.open_to_all, via=running.via, direct=None
        )
        plan = Plan.of(choices)
        if faults := plan.faults():
            raise ConfigurationError("\n".join(why for _, why in faults))
        return plan


def _needs_restart(running: Choices, read: Choices) -> list[str]:
    """Return the names of what differs and cannot be reloaded, as a configuration file writes them."""
    names = (field.name for field in dataclasses.fields(Choices) if field.name not in RELOADED)
    return [name.replace("_", "-") for name in names if getattr(running, name) != getattr(read, name)]
