"""``python -m speechre``: the command line."""

import sys

from speechre.cli import run_program

sys.exit(run_program())
