"""What the signals of an operator do to a running server."""

import dataclasses
from collections.abc import Callable

from socks6.cli import complain
from socks6.cli.notify import notify
from socks6.config.choices import Choices
from socks6.config.plan import Plan
from socks6.errors import ConfigurationError
from socks6.proxy.service import Server
from socks6.proxy.worker import ServerWorker


class Operator:
    """Carries them out. `read` reads flags, environment and files anew."""

    def __init__(self, server: Server, worker: ServerWorker, plan: Plan, read: Callable[[], Choices]) -> None:
        self._server = server
        self._worker = worker
        self._plan = plan
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
        """Have new connections meet the users and the policy that the files name now.

        If anything is wrong with them, it is told and nothing changes. Listeners, limits and the way out are
        as they were: what the files say of these counts after a restart.
        """
        try:
            plan = self._renewed()
        except ConfigurationError as error:
            complain(*(f"not reloaded: {line}" for line in str(error).splitlines()))
            return
        self._worker.replace(authenticator=plan.authenticator, policy=plan.policy)
        complain("reloaded")

    def _renewed(self) -> Plan:
        running = self._plan
        choices = dataclasses.replace(
            self._read(), listen=running.listen, open_to_all=running.open_to_all, via=running.via, direct=None
        )
        plan = Plan.of(choices)
        if faults := plan.faults():
            raise ConfigurationError("\n".join(why for _, why in faults))
        return plan
