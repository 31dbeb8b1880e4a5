"""`python -m fer_hailo.refine`: `fer-hailo refine`, from a checkout that need not be installed."""

import sys

from fer_hailo.commands.refine import main
from fer_hailo.common.cli import run

if __name__ == "__main__":
    sys.exit(run(main))
