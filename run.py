"""Read the expressions of faces: `fer-hailo run`, from a checkout that need not be installed. --help tells
all.
"""

import sys

from fer_hailo.commands.run import main
from fer_hailo.common.cli import run

if __name__ == "__main__":
    sys.exit(run(main))
