"""Networks, and methods that train any of them: a folder each, named as `--arch` or `--method` takes it."""
