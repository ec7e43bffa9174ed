"""`python -m rayformer` is the command line; `torchrun ... -m rayformer train ...` spreads it over processes."""

import sys

from rayformer.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
