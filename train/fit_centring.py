"""Fits the constants of features/centring.py: the mean patch of photos and its main directions."""

import sys

from raiha_train.weights.fit_centring import main

if __name__ == "__main__":
    sys.exit(main())
