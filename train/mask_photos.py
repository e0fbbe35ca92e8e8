"""Give photos without a mask that of their salient object, so that objects are recoloured and not spots."""

import sys

from raiha_train.prepare.mask_photos import main

if __name__ == "__main__":
    sys.exit(main())
