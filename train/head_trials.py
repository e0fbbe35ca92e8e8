"""Ideas for what stands behind the trunk, at equal budget, beside the shipped head trained on as long."""

import sys

from raiha_train.heads.head_trials import main

if __name__ == "__main__":
    sys.exit(main())
