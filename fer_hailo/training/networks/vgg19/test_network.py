"""VGG-19 sees images as its weights were trained on."""

import types

import keras
from keras.src.applications import vgg19 as keras_vgg19
from originals import check_same

from fer_hailo.training.networks.vgg19 import network


def shrink(patch):
    narrow = types.SimpleNamespace(**vars(keras.layers))
    narrow.Conv2D = lambda filters, *rest, **options: keras.layers.Conv2D(
        filters // 16, *rest, **options, kernel_initializer="he_normal"
    )
    patch.setattr(keras_vgg19, "layers", narrow)


def test_published_count():
    """As Keras' documentation has it, without the classifier."""
    assert network.vgg19(64, None).count_params() == 20_024_384


def test_initial_weights_see_what_they_were_trained_on(tmp_path):
    check_same("vgg19", keras.applications.VGG19, keras.applications.vgg19.preprocess_input, tmp_path)
