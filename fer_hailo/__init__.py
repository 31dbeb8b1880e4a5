"""FER-Hailo: train a facial-expression classifier with Keras, convert it, and run it on a Hailo-8.

Importing this package loads no framework and starts nothing; see the modules of each stage.
"""

__version__ = "0.1.0"
