"""What every machine shares: errors, files, the command line, preprocessing, metrics. numpy and the standard
library only.
"""
