"""Compiles the one extension where there is a compiler; without one the package installs all the same.

`socks6.relay.datagrams._forwarder` forwards datagrams, as the module `forwarder` beside it does in Python; its sources
are in `native/`. SOCKS6_PURE=1 leaves it out.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any, Final

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDER: Final = Path("src/socks6/relay/datagrams")
FLAGS: Final = ("-O2", "-Wall", "-Wextra", "-shared", "-fPIC")


class CustomBuildHook(BuildHookInterface):  # type: ignore[type-arg] # what it is given is of no interest
    """Runs before a wheel is made, or an editable install."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - the hook's shape
        """Compile, and have a wheel say for which Python it is."""
        target = FOLDER / f"_forwarder{sysconfig.get_config_var('EXT_SUFFIX')}"
        if self.target_name == "wheel" and self._compiled(target):
            build_data["artifacts"].append(str(target))
            build_data["pure_python"] = False
            build_data["infer_tag"] = True

    def _compiled(self, target: Path) -> bool:
        root = Path(self.root)
        compiler = next(filter(shutil.which, ("cc", "gcc", "clang")), None)
        headers = sysconfig.get_path("include")
        if sys.platform != "linux" or compiler is None or os.environ.get("SOCKS6_PURE"):
            (root / target).unlink(missing_ok=True)
            return False
        unfinished = root / target.with_suffix(".unfinished")
        sources = map(str, sorted((root / FOLDER / "native").glob("*.c")))
        command = [compiler, *FLAGS, f"-I{headers}", "-o", str(unfinished), *sources]
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=300)  # noqa: S603 - ours
        except (OSError, subprocess.SubprocessError) as error:
            detail = getattr(error, "stderr", None) or b""
            self.app.display_warning(
                f"socks6 goes without its extension: {error} {detail.decode(errors='replace')}"
            )
            return False
        unfinished.replace(root / target)
        return True
