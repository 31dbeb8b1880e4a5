"""Compile a deploy bundle to a HEF: `fer-hailo compile`, from a checkout that need not be installed. --help
tells all.
"""

import sys

from fer_hailo.commands.compile import main
from fer_hailo.common.cli import run

if __name__ == "__main__":
    sys.exit(run(main))
