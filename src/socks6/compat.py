"""What Python 3.11 lacks."""

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import override
elif sys.version_info >= (3, 12):
    from typing import override
else:

    def override(method):
        """Return the method: the mark is for type checkers, and typing_extensions takes 15 ms to import."""
        return method


__all__ = ["override"]
