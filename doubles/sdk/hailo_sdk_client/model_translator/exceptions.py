"""What the parser raises."""


class ModelTranslatorException(Exception):
    pass


class UnsupportedModelError(ModelTranslatorException):
    """This kind of model is not taken at all."""


class MisspellNodeError(ModelTranslatorException):
    """A start or end node that the model does not have."""


class ParsingWithRecommendationException(ModelTranslatorException):
    """A part of the model is not taken; the text ends with the end nodes to try."""
