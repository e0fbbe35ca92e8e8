"""Train one experiment."""

import sys

from safetensors import SafetensorError

from raiha_train.loop.train import main

if __name__ == "__main__":
    try:
        sys.exit(main())
    except (ValueError, OSError, SafetensorError) as error:
        print(f"train: {error}", file=sys.stderr)
        sys.exit(1)
