"""What older Pythons lack."""

import subprocess
import sys

from socks6.compat import override


def test_a_method_is_given_back_as_it_is() -> None:
    def method() -> None: ...

    assert override(method) is method


def test_no_other_package_is_imported_for_it() -> None:
    script = "import socks6.compat, sys; print('typing_extensions' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert done.stdout == "False\n"
