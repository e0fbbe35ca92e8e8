"""Reference lists by our retrieval: RAHarmony4 anew, without its leaks, and lists for the trainer."""

import sys

from raiha_train.lists.build_raharmony4 import main

if __name__ == "__main__":
    sys.exit(main())
