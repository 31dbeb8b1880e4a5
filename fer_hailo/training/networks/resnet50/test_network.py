"""ResNet-50 sees images as its weights were trained on."""

import keras
import pytest
from keras.src.applications import resnet as keras_resnet
from originals import check_same

from fer_hailo.training.networks.resnet50 import network


def shrink(patch):
    whole = keras_resnet.stack_residual_blocks_v1
    patch.setattr(
        keras_resnet,
        "stack_residual_blocks_v1",
        lambda x, filters, blocks, name, **rest: (
            whole(x, filters // 8, 1, name=name, **rest) if name in ("conv2", "conv3") else x
        ),
    )


def test_published_count():
    """As Keras' documentation has it, without the classifier."""
    assert network.resnet50(64, None).count_params() == 23_587_712


@pytest.mark.slow
def test_initial_weights_see_what_they_were_trained_on(tmp_path):
    check_same("resnet50", keras.applications.ResNet50, keras.applications.resnet.preprocess_input, tmp_path)
