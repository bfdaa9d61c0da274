"""python -m socks6"""

import sys

from socks6.cli import main

if __name__ == "__main__":
    sys.exit(main())
