"""Every model on every set, beside the composite and the preset without weights."""

import sys

from raiha_train.evaluation.compare_models import main

if __name__ == "__main__":
    sys.exit(main())
