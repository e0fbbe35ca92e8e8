"""Choose the settings of the `statistics` preset on recoloured photos of the validation split."""

import sys

from raiha_train.weights.tune_statistics import main

if __name__ == "__main__":
    sys.exit(main())
