"""Train one experiment."""

import sys

from raiha_train.command import exit_code
from raiha_train.loop.train import main

if __name__ == "__main__":
    sys.exit(exit_code("train", main))
