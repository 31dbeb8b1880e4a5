"""`python -m fer_hailo.ensemble`: `fer-hailo ensemble`, from a checkout that need not be installed."""

import sys

from fer_hailo.commands.ensemble import main
from fer_hailo.common.cli import run

if __name__ == "__main__":
    sys.exit(run(main))
