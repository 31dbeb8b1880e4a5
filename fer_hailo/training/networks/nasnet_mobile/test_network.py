"""NASNet-A mobile sees images as its weights were trained on."""

from functools import partial

import keras
import pytest
from keras.src.applications import nasnet as keras_nasnet
from originals import check_same


def shrink(patch):
    reduction = keras_nasnet._reduction_a_cell  # one of these is enough
    patch.setattr(keras_nasnet, "_normal_a_cell", lambda x, before, *rest, **options: (x, before))
    patch.setattr(
        keras_nasnet,
        "_reduction_a_cell",
        lambda x, before, filters, block_id: (
            reduction(x, before, filters, block_id) if block_id == "stem_1" else (x, before)
        ),
    )
    small = {
        "penultimate_filters": 96,
        "num_blocks": 1,
        "stem_block_filters": 8,
        "skip_reduction": False,
        "filter_multiplier": 2,
    }
    patch.setattr(keras.applications, "NASNetMobile", partial(keras_nasnet.NASNet, **small, default_size=224))


@pytest.mark.slow
def test_initial_weights_see_what_they_were_trained_on(tmp_path):
    check_same(
        "nasnet_mobile", keras.applications.NASNetMobile, keras.applications.nasnet.preprocess_input, tmp_path
    )
