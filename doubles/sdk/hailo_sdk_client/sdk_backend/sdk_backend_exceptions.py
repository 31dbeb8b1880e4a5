"""What quantization and compilation raise."""


class BackendValueError(Exception):
    """A value that is refused, in a call or in a model script."""


class BackendAllocatorException(Exception):
    """The network finds no place on the chip."""
