"""A trained weight file made ready to ship: half precision, and what it scores."""

import sys

from raiha_train.weights.ship import main

if __name__ == "__main__":
    sys.exit(main())
