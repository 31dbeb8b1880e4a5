"""Stop with one line when this Python cannot train (TensorFlow has wheels for some versions only)."""

import sys

if sys.version_info[:2] not in ((3, 11), (3, 12)):
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    sys.exit(
        f"error: training needs Python 3.11 or 3.12, this is {version}: install one and run make "
        "PYTHON=python3.12"
    )
