"""``python -m facewatchd``: the same as the ``facewatchd`` command."""

import sys

from facewatchd.cli.app import main

if __name__ == "__main__":
    sys.exit(main())
