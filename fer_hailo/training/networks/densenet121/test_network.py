"""DenseNet-121 sees images as its weights were trained on."""

from functools import partial

import keras
from keras.src.applications import densenet as keras_densenet
from originals import check_same

from fer_hailo.training.networks.densenet121 import network


def shrink(patch):
    patch.setattr(keras.applications, "DenseNet121", partial(keras_densenet.DenseNet, [1, 1, 1, 1]))


def test_published_count():
    """As Keras' documentation has it, without the classifier."""
    assert network.densenet121(64, None).count_params() == 7_037_504


def test_initial_weights_see_what_they_were_trained_on(tmp_path):
    check_same(
        "densenet121", keras.applications.DenseNet121, keras.applications.densenet.preprocess_input, tmp_path
    )
