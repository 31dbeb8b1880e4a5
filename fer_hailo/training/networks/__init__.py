"""Networks, and methods that train any of them: a folder each, of the name that `--arch` or `--method` takes."""
