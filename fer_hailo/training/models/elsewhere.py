"""What networks from elsewhere do otherwise than those of this project, which see RGB and give logits."""

from __future__ import annotations

import keras
import numpy as np

from fer_hailo.predict.private import maker_of

GREY = (
    0.299,
    0.587,
    0.114,
)  # the weights of red, green and blue (ITU-R BT.601), as OpenCV and Pillow have them


def as_classifier(model: keras.Model) -> keras.Model:
    """The same network for faces (B, I, I, 3), though it may take grey ones, and without the softmax at its
    end, if it has one. Others, and what is no Functional or Sequential model, are given back as they are.
    """
    if not model.built or len(getattr(model, "inputs", None) or ()) != 1 or len(model.outputs) != 1:
        return model
    model = _without_softmax(model)
    shape = model.input_shape
    if len(shape) != 4 or shape[-1] != 1:
        return model
    image = keras.Input((*shape[1:3], 3))
    grey = keras.layers.Conv2D(1, 1, use_bias=False, trainable=False, dtype="float32", name="grey")
    grey_image = grey(image)
    grey.kernel.assign(np.reshape(GREY, (1, 1, 3, 1)))
    return keras.Model(image, model(grey_image), name=model.name)


def _without_softmax(model: keras.Model) -> keras.Model:
    last = maker_of(model.outputs[0])
    if isinstance(last, keras.layers.Softmax):
        return keras.Model(model.inputs[0], last.input, name=model.name)
    if getattr(last, "activation", None) is keras.activations.softmax:
        last.activation = keras.activations.linear
    return model
