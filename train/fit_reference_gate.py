"""Fit the reference gate: how far each reference is believed, by objects whose true colours are known."""

import sys

from raiha_train.weights.fit_reference_gate import main

if __name__ == "__main__":
    sys.exit(main())
