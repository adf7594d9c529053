"""`python -m kerasformer`: the command `kerasformer`."""

import sys

from kerasformer.cli import main

if __name__ == "__main__":
    sys.exit(main())
