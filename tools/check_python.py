"""Stop with one line when this Python cannot train (TensorFlow has wheels for some versions only)."""

import sys

if sys.version_info[:2] not in ((3, 11), (3, 12)):
    sys.exit("error: training needs Python 3.11 or 3.12, this is %d.%d: run make PYTHON=python3.11" % sys.version_info[:2])
