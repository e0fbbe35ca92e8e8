"""`python -m raiha_core`, the same as the `raiha` command."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
