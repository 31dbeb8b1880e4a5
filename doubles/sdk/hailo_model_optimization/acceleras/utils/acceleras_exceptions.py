"""What the model optimization raises."""


class BadInputsShape(Exception):
    """Data that do not have the shape of the network's input."""
