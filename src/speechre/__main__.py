"""``python -m speechre``: the command line."""

import sys

from speechre.cli import main

sys.exit(main())
