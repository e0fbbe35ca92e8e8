"""Many methods side by side, from their scores image by image: one table for each protocol."""

import sys

from raiha_train.evaluation.method_table import main

if __name__ == "__main__":
    sys.exit(main())
