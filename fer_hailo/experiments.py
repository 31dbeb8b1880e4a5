"""`python -m fer_hailo.experiments`: `fer-hailo experiments`, from a checkout that need not be installed."""

import sys

from fer_hailo.commands.experiments import main
from fer_hailo.common.cli import run

if __name__ == "__main__":
    sys.exit(run(main))
