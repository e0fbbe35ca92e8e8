"""Composites whose object is lit from another side than its scene, from photos with masks."""

import sys

from raiha_train.prepare.make_lit_apart import main

if __name__ == "__main__":
    sys.exit(main())
