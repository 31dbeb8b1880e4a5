"""`python -m fer_hailo.experiments`: `fer-hailo experiments`, from a checkout that need not be installed."""

import sys

from fer_hailo.cli import run
from fer_hailo.commands.experiments import main

if __name__ == "__main__":
    sys.exit(run(main))
