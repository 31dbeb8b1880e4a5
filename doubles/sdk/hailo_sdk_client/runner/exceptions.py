"""What the runner itself raises."""


class InvalidStateException(Exception):
    """A call that the model's state does not allow yet, or no more."""
