"""Convert a trained model to TFLite: `fer-hailo convert`, from a checkout that need not be installed. --help
tells all.
"""

import sys

from fer_hailo.common.cli import command, run

main = command("convert")

if __name__ == "__main__":
    sys.exit(run(main))
