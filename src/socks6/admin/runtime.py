"""Where the sockets of the admin interface are: a folder that commands look into, a file for each process."""

import contextlib
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Final

ROOTS_FOLDER: Final = Path("/run/socks6")
FOLDER_MODE: Final = 0o700
CONNECT_SECONDS: Final = 2.0


def runtime_folder(environment: Mapping[str, str]) -> Path | None:
    """Return where a proxy's own socket is: systemd's RuntimeDirectory, root's or a user's own folder; None without any."""
    if given := environment.get("RUNTIME_DIRECTORY"):
        return Path(given.partition(":")[0])
    if os.geteuid() == 0:
        return ROOTS_FOLDER
    if given := environment.get("XDG_RUNTIME_DIR"):
        return Path(given) / "socks6"
    return None


def own_socket(environment: Mapping[str, str]) -> Path | None:
    """Return the path of this process's socket, in a folder that is made if need be; None where that cannot be.

    Sockets that dead processes left there are removed.
    """
    folder = runtime_folder(environment)
    if folder is None:
        return None
    try:
        folder.mkdir(mode=FOLDER_MODE, exist_ok=True)
        for path in folder.glob("*.sock"):
            if path.stem.isdigit() and not _runs(int(path.stem)):
                path.unlink(missing_ok=True)
    except OSError:
        return None
    return folder / f"{os.getpid()}.sock" if os.access(folder, os.W_OK) else None


def live_sockets(environment: Mapping[str, str]) -> list[Path]:
    """Return the sockets of the proxies that run and that this user may administer."""
    folders = {runtime_folder(environment), ROOTS_FOLDER}
    found: list[Path] = []
    for folder in folders:
        with contextlib.suppress(OSError):
            # below, each of systemd's services has a folder of its own
            paths = sorted([*folder.glob("*.sock"), *folder.glob("*/*.sock")]) if folder else []
            found += [path for path in paths if _listens(path)]
    return found


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(CONNECT_SECONDS)
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True
