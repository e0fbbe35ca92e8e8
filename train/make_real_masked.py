"""Recolour the objects of real photos with measured lights: triples for evaluation."""

import sys

from raiha_train.prepare.make_real_masked import main

if __name__ == "__main__":
    sys.exit(main())
