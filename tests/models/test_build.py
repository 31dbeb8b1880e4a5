import warnings

import keras
import numpy as np
import pytest

from fer_hailo.common.config import Config
from fer_hailo.common.errors import UserError
from fer_hailo.common.preprocess import PreprocessSpec, normalise, prepare
from fer_hailo.training.models.build import (
    backbone_layers,
    build_model,
    load_model,
    set_stage,
    transfer_weights,
)
from fer_hailo.training.models.inputs import AugmentedFaceInput
from fer_hailo.training.networks.mobilenet_v3_small import network as mobilenet_v3
from fer_hailo.training.networks.weights import check_weights, parse_weights

SEED_RECIPE = Config.of(weights="none")


@pytest.fixture(scope="module")
def seed_model():
    return build_model(SEED_RECIPE)


def count(weights):
    return int(sum(np.prod(w.shape) for w in weights))


def test_parameters_of_the_seed(seed_model):
    assert seed_model.count_params() == 1_404_405
    assert sum(layer.count_params() for layer in backbone_layers(seed_model)) == 939_120
    assert seed_model.input_shape == (None, 128, 128, 3) and seed_model.output_shape == (None, 5)
    assert seed_model.get_layer("head_pool").input.shape == (None, 4, 4, 576)


def test_stage_1_trains_the_head_alone(seed_model):
    set_stage(seed_model, 1)
    # 465,285 less the moving statistics of the four batch norms (576 + 512 + 256 + 128, twice)
    assert count(seed_model.trainable_weights) == 465_285 - 2 * 1472
    assert not any(layer.trainable for layer in backbone_layers(seed_model))


def test_stage_2_trains_the_last_60_layers_but_no_batch_norm(seed_model):
    set_stage(seed_model, 2)
    backbone = backbone_layers(seed_model)
    norm = keras.layers.BatchNormalization
    assert len(backbone) == 156
    assert [layer.trainable for layer in backbone] == [
        i >= 96 and not isinstance(layer, norm) for i, layer in enumerate(backbone)
    ]
    frozen = [layer for layer in backbone[96:] if isinstance(layer, norm)]
    assert len(frozen) > 5
    # A frozen batch norm uses its stored statistics also in training.
    x = np.random.default_rng(0).normal(size=(2, 128, 128, 3)).astype("f4")
    before = [layer.moving_mean.numpy().copy() for layer in frozen]
    seed_model(x, training=True)
    assert all((layer.moving_mean.numpy() == old).all() for layer, old in zip(frozen, before, strict=True))


def test_whole_backbone_with_its_batch_norms():
    config = Config.of(
        weights="none", input_size=32, unfreeze_layers=-1, train_batch_norm=True, batch_norm_momentum=0.9
    )
    model = build_model(config, stage=2)
    norms = [layer for layer in backbone_layers(model) if isinstance(layer, keras.layers.BatchNormalization)]
    assert all(layer.trainable and layer.momentum == 0.9 for layer in norms)
    assert all(layer.trainable for layer in model.layers)


def test_twin_has_no_h_swish_and_no_squeeze():
    model = build_model(Config.of(weights="none", arch="mobilenet_v3_small_minimalistic", input_size=64))
    kinds = {type(layer).__name__ for layer in model.layers}
    assert "Multiply" not in kinds and "Activation" not in kinds and "HardSwish" not in kinds
    assert not any("squeeze" in layer.name for layer in model.layers)


def test_saved_model_opens_in_plain_keras(tmp_path):
    model = build_model(Config.of(weights="none", input_size=32))
    model.save(tmp_path / "m.keras")
    code = (
        "import sys, keras, numpy; m = keras.models.load_model(sys.argv[1]); out = m(numpy.zeros((1, 32, "
        "32, 3), 'f4'))"
    )
    code += "; print(out.shape[1], 'fer_hailo' in sys.modules)"
    import subprocess
    import sys

    out = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "m.keras")], capture_output=True, text=True, cwd=tmp_path
    )
    assert out.stdout.split() == ["5", "False"], out.stderr


def test_failed_download_says_what_to_do(monkeypatch):
    def fail(*arguments, **options):
        warnings.warn("`input_shape` is undefined or non-square, or `rows` is not 224.", stacklevel=2)
        raise Exception("URL fetch failure on https://example.org/w.h5: None -- [Errno -3] no route")

    monkeypatch.setattr(mobilenet_v3.keras.applications, "MobileNetV3Small", fail)
    with pytest.raises(UserError) as error, warnings.catch_warnings():
        warnings.simplefilter("error")
        build_model(Config())
    said = str(error.value)
    assert "could not be downloaded ([Errno -3] no route): " in said and "--weights none" in said
    assert "--weights FILE for https://example.org/w.h5 fetched elsewhere, " in said
    assert "--weights released:mobilenet_v3_small for" in said


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ("nowhere.h5", "no weights at"),
        ("nowhere.keras", "no model at"),
        ("weights.bin", "must be imagenet, none"),
        ("imagnet", "must be imagenet, none"),
    ],
)
def test_weights_that_cannot_be_had(weights, said):
    with pytest.raises(UserError, match=said):
        build_model(Config.of(weights=weights, input_size=32))


def test_weights_file_that_is_no_model(tmp_path):
    for name in ("x.keras", "x.h5"):
        (tmp_path / name).write_bytes(b"junk")
        with pytest.raises(UserError, match="cannot be opened as a Keras model|does not fit"):
            build_model(Config.of(weights=str(tmp_path / name), input_size=32))


def test_unknown_arch_names_the_nearest():
    with pytest.raises(UserError, match="did you mean mobilenet_v3_small?"):
        build_model(Config.of(arch="mobilenetv3_small", weights="none"))


def test_fine_tuning_from_a_model_of_other_classes(tmp_path):
    source = build_model(Config.of(weights="none", input_size=32, head_units=(16,), head_dropout=(0.1, 0.1)))
    source.save(tmp_path / "five.keras")
    config = Config.of(
        weights=str(tmp_path / "five.keras"),
        input_size=32,
        head_units=(16,),
        head_dropout=(0.1, 0.1),
        classes=("a", "b"),
    )
    target = build_model(config)
    assert (
        target.get_layer("head_dense1").kernel.numpy() == source.get_layer("head_dense1").kernel.numpy()
    ).all()
    assert target.output_shape == (None, 2)
    other = build_model(Config.of(weights="none", input_size=32, head_units=(8,), head_dropout=(0.1, 0.1)))
    with pytest.raises(UserError, match="of another network"):
        transfer_weights(load_model(tmp_path / "five.keras"), other)


def test_the_twin_starts_from_the_middle_of_larger_kernels(tmp_path):
    head = {"weights": "none", "input_size": 32, "head_units": (16,), "head_dropout": (0.1, 0.1)}
    full = build_model(Config.of(**head))
    full.save(tmp_path / "full.keras")
    twin = build_model(
        Config.of(**head | {"weights": str(tmp_path / "full.keras")}, arch="mobilenet_v3_small_minimalistic")
    )
    name = "expanded_conv_3_depthwise"
    large, cropped = (model.get_layer(name).get_weights()[0] for model in (full, twin))
    assert large.shape[:2] == (5, 5) and (cropped == large[1:4, 1:4]).all()
    for name in ("conv", "expanded_conv_7_project_bn", "head_dense1", "logits"):
        assert all(
            (a == b).all()
            for a, b in zip(
                full.get_layer(name).get_weights(), twin.get_layer(name).get_weights(), strict=True
            )
        )


def faces(count=4, *channels):
    return np.random.default_rng(1).integers(0, 256, (count, 48, 48, *channels), dtype=np.uint8)


OFF = {"zoom": 0, "brightness": 0, "contrast": 0, "saturation": 0, "hue": 0}


@pytest.mark.parametrize("color", [False, True])
def test_augmentation_off_is_the_plain_input(color):
    config = Config.of(flip=False, color=color, **OFF)
    images = faces(4, *([3] if color else []))
    out = np.asarray(AugmentedFaceInput(config)(images, np.ones((4, 1), "f4")))
    plain = np.stack([normalise(prepare(face, config.preprocess), config.preprocess) for face in images])
    assert np.abs(out - plain).max() <= 1.001 / 127.5


def test_mirror_is_a_mirror():
    images = faces(32)
    out = np.asarray(AugmentedFaceInput(Config.of(**OFF))(images, np.ones((32, 1), "f4")))
    plain = np.stack([normalise(prepare(face, PreprocessSpec()), PreprocessSpec()) for face in images])
    same = np.abs(out - plain).max((1, 2, 3)) < 0.009
    mirrored = np.abs(out - plain[:, :, ::-1]).max((1, 2, 3)) < 0.009
    assert (same ^ mirrored).all() and 6 < mirrored.sum() < 26


def test_crop_is_a_part_of_the_picture_enlarged():
    # On a ramp, cropping keeps the ramp straight and narrows its range to at least 1 - zoom.
    ramp = np.tile(np.linspace(0, 255, 48).round().astype(np.uint8), (64, 48, 1))
    out = np.asarray(
        AugmentedFaceInput(Config.of(flip=False, **(OFF | {"zoom": 0.3})))(ramp, np.ones((64, 1), "f4"))
    )[:, 60, 4:-4, 0]
    spans = (out[:, -1] - out[:, 0]) / 2 * 128 / 120
    assert spans.min() > 0.66 and spans.max() < 1.02 and spans.std() > 0.03
    bends = out - np.linspace(out[:, 0], out[:, -1], out.shape[1], axis=1)
    assert np.abs(bends).max() < 0.04


def test_shift_moves_the_picture():
    spot = np.zeros((64, 48, 48), np.uint8)
    spot[:, 22:26, 22:26] = 255
    out = (
        np.asarray(AugmentedFaceInput(Config.of(flip=False, **OFF, shift=0.2))(spot, np.ones((64, 1), "f4")))[
            ..., 0
        ]
        + 1
    )
    middles = (out * np.arange(128)).sum((1, 2)) / out.sum((1, 2)) / 128 - 0.5
    assert np.abs(middles).max() < 0.21 and middles.std() > 0.07


def test_mix_blends_with_the_one_before():
    config = Config.of(flip=False, **OFF)
    images = faces(3)
    layer = AugmentedFaceInput(config)
    alone = np.asarray(layer(images, np.ones((3, 1), "f4")))
    mixed = np.asarray(layer(images, np.full((3, 1), 0.25, "f4")))
    np.testing.assert_allclose(mixed, 0.25 * alone + 0.75 * np.roll(alone, 1, axis=0), atol=1e-5)


def test_brightness_and_contrast_stay_in_bounds():
    flat = np.full((200, 48, 48), 128, np.uint8)
    out = (
        np.asarray(
            AugmentedFaceInput(Config.of(**(OFF | {"brightness": 0.2})))(flat, np.ones((200, 1), "f4"))
        ).mean((1, 2, 3))
        * 127.5
        + 127.5
    )
    assert out.min() >= 128 - 52 and out.max() <= 128 + 52 and out.std() > 20
    two = np.full((200, 48, 48), 100, np.uint8)
    two[:, :24] = 150
    out = np.asarray(AugmentedFaceInput(Config.of(**(OFF | {"contrast": 0.2})))(two, np.ones((200, 1), "f4")))
    spans = (out[:, 10, 64, 0] - out[:, -10, 64, 0]) * 127.5
    assert 38 < spans.min() < 42 and 58 < spans.max() < 62


def test_erasing_paints_a_grey_rectangle_into_some_pictures():
    config = Config.of(weights="none", input_size=48, zoom=0, flip=False, brightness=0, contrast=0, erase=0.4)
    images = np.zeros((600, 48, 48), np.uint8)
    seen = AugmentedFaceInput(config)(images, np.ones((600, 1), "f4")).numpy()[..., 0]
    grey = np.isclose(seen, 0, atol=0.01)  # a black image is -1
    assert (grey | (seen == -1)).all()
    areas = grey.mean(axis=(1, 2))
    assert (areas > 0).mean() == pytest.approx(0.4, abs=0.06)  # three standard deviations of 600 draws
    assert areas.max() < 0.27 and areas[areas > 0].min() > 0.01
    for mask in grey[areas > 0][:20]:
        assert mask.sum() == mask.any(axis=0).sum() * mask.any(axis=1).sum()  # a rectangle


def test_saturation_spares_grey_and_changes_colour():
    config = Config.of(color=True, flip=False, **(OFF | {"saturation": 0.5}))
    colours = np.zeros((32, 48, 48, 3), np.uint8)
    colours[:16] = 90
    colours[16:] = (200, 120, 80)
    out = np.asarray(AugmentedFaceInput(config)(colours, np.ones((32, 1), "f4")))[:, 64, 64] * 127.5 + 127.5
    np.testing.assert_allclose(out[:16], 90, atol=1)
    saturation = 1 - out[16:].min(1) / out[16:].max(1)
    assert saturation.min() > 0.29 and saturation.max() < 0.91 and saturation.std() > 0.05  # .6 x (.5 to 1.5)


def test_hue_turns_both_ways():
    config = Config.of(color=True, flip=False, **(OFF | {"hue": 0.1}))
    red = np.zeros((64, 48, 48, 3), np.uint8)
    red[..., 0] = 255
    out = np.asarray(AugmentedFaceInput(config)(red, np.ones((64, 1), "f4")))[:, 64, 64] * 127.5 + 127.5
    # A turn by t of the circle adds 6 t x 255 of green (one way) or blue (the other).
    assert 120 < out[:, 1].max() < 155 and 120 < out[:, 2].max() < 155 and out[:, 0].min() > 254


def test_a_runs_folder_gives_its_model_as_weights(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    with pytest.raises(UserError, match=f"weights must be .* a run's folder, .* got {run}"):
        check_weights(str(run))
    (run / "best_model_float32.keras").write_bytes(b"")
    assert parse_weights(str(run)).files == (str(run / "best_model_float32.keras"),)
    check_weights(str(run))
