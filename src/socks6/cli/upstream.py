"""What a command that stays says of the proxy it goes through: at its start, and for as long as it runs."""

from socks6.cli import tell
from socks6.client.monitor import UpstreamMonitor
from socks6.net.upstream import UpstreamState


async def watch_upstream(monitor: UpstreamMonitor) -> None:
    """Check the proxy now, and as `UpstreamMonitor.run` does from then on; until cancelled.

    Prints through whom, if that works; if not, the log has the cause.
    """
    await tell_upstream(monitor)
    await monitor.run()


async def tell_upstream(monitor: UpstreamMonitor) -> None:
    """Check the proxy; print through whom the command goes, if that works."""
    await monitor.check()
    if monitor.status.state is UpstreamState.UP:
        status = monitor.status
        tell(
            f"through {status.words}",
            "through",
            url=status.url,
            encryption=status.encryption,
            seconds=round(status.seconds, 6),
        )
