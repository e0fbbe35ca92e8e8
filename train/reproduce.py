"""Tables I, II and III of the Raiha paper: ours beside the printed figures and the published peers."""

import sys

from raiha_train.evaluation.reproduce import main

if __name__ == "__main__":
    sys.exit(main())
