"""``python -m bpr COMMAND``: the command ``bpr`` where it is not on the path."""

import sys

from bpr.cli import main

if __name__ == "__main__":
    sys.exit(main())
