"""Score a harmonizer, or a folder of another method's outputs, over a data set."""

import sys

from raiha_train.evaluation.evaluate import main

if __name__ == "__main__":
    sys.exit(main())
