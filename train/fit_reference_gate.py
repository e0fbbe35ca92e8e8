"""Fit the judge of references: how far raiha-plus believes each, by objects whose true look is known."""

import sys

from raiha_train.weights.fit_reference_gate import main

if __name__ == "__main__":
    sys.exit(main())
