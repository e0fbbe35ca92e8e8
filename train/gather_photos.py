"""Gather photos to train on from folders of known layout."""

import sys

from raiha_train.prepare.gather_photos import main

if __name__ == "__main__":
    sys.exit(main())
