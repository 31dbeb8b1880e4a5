"""Train a classifier: `fer-hailo train`, from a checkout that need not be installed. --help tells all."""

import sys

from fer_hailo.cli import run
from fer_hailo.commands.train import main

if __name__ == "__main__":
    sys.exit(run(main))
