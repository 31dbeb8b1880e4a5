"""File formats, read by this library alone: HEF, TFLite, protobuf, dlib. numpy and the standard library
only.
"""
