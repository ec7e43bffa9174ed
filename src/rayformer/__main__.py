"""`python -m rayformer` is the command line; torchrun, by the same name, spreads it over processes."""

import sys

from rayformer.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
