"""Composites of every family, and of one that no run is trained on, from photos that no run has seen."""

import sys

from raiha_train.prepare.make_held_out import main

if __name__ == "__main__":
    sys.exit(main())
