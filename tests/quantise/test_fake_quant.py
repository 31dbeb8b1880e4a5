"""Fake quantisation: forward values and gradients by hand, then against LiteRT, tensor by tensor and from end
to end.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import ROOT

from fer_hailo.common.errors import UserError
from fer_hailo.common.preprocess import PreprocessSpec, normalise
from fer_hailo.predict.litert import LiteRT
from fer_hailo.training.convert.calibration import prepare_all
from fer_hailo.training.convert.cleanup import clean_network
from fer_hailo.training.convert.equalise import equalise
from fer_hailo.training.convert.folding import fold_constants
from fer_hailo.training.convert.graph import as_logits, flatten
from fer_hailo.training.convert.quantise import quantise_trained, quantise_with
from fer_hailo.training.convert.ranges import TensorRange, tensor_ranges
from fer_hailo.training.convert.tflite import raise_small_kernels, to_tflite
from fer_hailo.training.data.sample import draw_face
from fer_hailo.training.fit.distill import Distillation, Teachers
from fer_hailo.training.models.build import load_model
from fer_hailo.training.quantise.fake import FASTER, FakeQuantised, kernel_steps, on_steps, round_input
from fer_hailo.training.quantise.ranges import choose_ranges, ends_of, tensor_values

SPEC = PreprocessSpec(source_size=32, input_size=32)
L = keras.layers


def round_kernel(kernel, depthwise):
    return on_steps(kernel, kernel_steps(kernel, depthwise))


def gradient(function, *values):
    tensors = [tf.constant(value, tf.float32) for value in values]
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        result = function(*tensors)
    return [np.asarray(g) for g in tape.gradient(result, tensors)]


def test_kernels_by_hand():
    """A step of a channel is a 127th of its largest weight: 0.01 in the first, 0.02 in the second."""
    kernel = np.float32([[1.27, 0.511], [0.0149, -2.54], [-0.0151, 0.509]])
    np.testing.assert_allclose(
        round_kernel(kernel, depthwise=False), [[1.27, 0.52], [0.01, -2.54], [-0.02, 0.50]], atol=1e-6
    )
    deep = np.float32([[0.126, 25.4], [-1.27, 0.31]]).reshape(2, 1, 2, 1)  # two places of two channels
    np.testing.assert_allclose(
        round_kernel(deep, depthwise=True).numpy().reshape(2, 2), [[0.13, 25.4], [-1.27, 0.4]], atol=1e-5
    )
    assert not np.asarray(round_kernel(np.zeros((3, 2), np.float32), depthwise=False)).any()
    (passed,) = gradient(
        lambda k: tf.reduce_sum(round_kernel(k, depthwise=False) * tf.reshape(tf.range(6.0), (3, 2))), kernel
    )
    np.testing.assert_array_equal(passed, np.arange(6).reshape(3, 2))


def test_the_input_has_litert_steps():
    """Bytes are half-way between the steps of 2 / 255: each goes up by half a step."""
    bytes_ = np.arange(256, dtype=np.uint8)
    rounded = np.asarray(round_input(normalise(bytes_, SPEC), SPEC))
    np.testing.assert_allclose(rounded, (bytes_.astype(np.float64) - 127) / 127.5, atol=1e-6)
    blended = np.asarray(round_input(np.float32([0.3 / 127.5, 0.6 / 127.5, -2.0]), SPEC))
    np.testing.assert_allclose(blended, [0, 1 / 127.5, -127 / 127.5], atol=1e-6)


def answers_of(kernel, bias, low, high):
    """One 1x1 convolution of the first input channel, rounded to a range: FakeQuantised and its layer."""
    image = keras.Input((1, 1, 3))
    layer = L.Conv2D(1, 1, name="only")
    model = keras.Model(image, L.Flatten()(layer(image)), name="one")
    layer.set_weights([np.float32([kernel, 0, 0]).reshape(1, 1, 3, 1), np.float32([bias])])
    quantised = FakeQuantised(model, SPEC)
    quantised.ranges.assign([(0, 0), (low, high)])
    return quantised, layer


def test_activations_and_gradients_by_hand():
    """Steps of 0.1 from -5.5 to 20; an input byte of 127 is 0, one of 255 is 128 / 127.5."""
    quantised, layer = answers_of(12.0, 0.03, -5.5, 20.0)
    image = normalise(np.uint8([[[[255, 0, 0]]], [[[127, 0, 0]]], [[[0, 0, 0]]]]), SPEC)
    # 12 * 1.0039 + .03, .03, 12 * -.996 + .03
    np.testing.assert_allclose(quantised(image), [[12.1], [0.0], [-5.5]], atol=1e-5)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(quantised(image) * [[1.0], [10.0], [100.0]])
    kernel, bias, moves = tape.gradient(loss, [layer.kernel.value, layer.bias.value, quantised.moves.value])
    np.testing.assert_allclose(bias, [11.0])  # the third lies outside: nothing of its gradient comes through
    np.testing.assert_allclose(np.ravel(kernel)[0], 128 / 127.5 + 10 * 0, rtol=1e-5)
    # It goes to the range's low end
    np.testing.assert_allclose(np.asarray(moves)[1], [100 * FASTER * -5.5, 0], rtol=1e-5)
    quantised.moves.assign([(0, 0), (np.log(2) / FASTER, 0)])
    np.testing.assert_allclose(quantised.limits()[1], [-11.0, 20.0], rtol=1e-5)
    assert quantised.tensor_limits()["only"] == pytest.approx((-11.0, 20.0), rel=1e-5)


def test_a_bias_is_rounded_to_steps_of_kernel_times_input():
    """A kernel of 254 has steps of 2, the input of 2 / 255: the bias lies on steps of 4 / 255."""
    quantised, layer = answers_of(254.0, 0.03, -300, 300)
    quantised.network.get_layer("only").kernel.assign(np.float32([0, 254, 0]).reshape(1, 1, 3, 1))
    given = {}
    quantised._rounded = lambda name, values, low, high: given.setdefault(name, values)
    image = normalise(np.uint8([[[[255, 127, 0]]]]), SPEC)  # only the middle channel is read, and is 0
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(quantised(image))
    np.testing.assert_allclose(given["only"], [[[[8 / 255]]]], rtol=1e-5)  # 0.03 is 1.9 steps
    np.testing.assert_allclose(tape.gradient(loss, layer.bias.value), [1.0])


def test_penalties_of_the_float_network_are_gone():
    image = keras.Input((4, 4, 3))
    model = keras.Model(image, L.Dense(2, kernel_regularizer="l2")(L.GlobalAveragePooling2D()(image)))
    quantised = FakeQuantised(model, SPEC)
    quantised.ranges.assign([(0, 0), (-1, 1), (-1, 1)])
    quantised(np.zeros((1, 4, 4, 3), np.float32))
    assert quantised.losses == []


def gated() -> keras.Model:
    """What a MobileNetV3 is made of: h-swish, a gate with a hard sigmoid, padding, a sum, a head."""
    image = keras.Input((32, 32, 3))
    x = L.Activation("hard_swish")(
        L.BatchNormalization()(L.Conv2D(8, 3, strides=2, padding="same", name="stem")(image))
    )
    y = L.DepthwiseConv2D(3, strides=2, name="spatial")(L.ZeroPadding2D(((0, 1), (0, 1)), name="pad")(x))
    s = L.Conv2D(4, 1, activation="relu", name="squeeze")(
        L.GlobalAveragePooling2D(keepdims=True, name="squeeze_pool")(y)
    )
    s = L.ReLU(6.0)(L.Conv2D(8, 1, name="excite")(s) + 3.0) * (1 / 6)
    y = L.Conv2D(8, 1, name="project")(L.Multiply(name="gate")([y, s]))
    y = L.Add(name="join")([y, L.Conv2D(8, 1, name="expand")(y)])
    x = L.Dropout(0.5)(L.GlobalAveragePooling2D(name="pool")(L.ReLU()(L.Conv2D(16, 1, name="last")(y))))
    return keras.Model(
        image, L.Dense(5, name="answers")(L.ReLU()(L.Dense(8, name="hidden")(x))), name="gated"
    )


def residual() -> keras.Model:
    """What a ResNet is made of: pooling, a sum that a ReLU follows, ReLU6, a ReLU of its own, averages,
    flattening.
    """
    image = keras.Input((32, 32, 3))
    x = L.ReLU(name="stem_relu")(L.Conv2D(8, 7, strides=2, padding="same", name="stem")(image))
    x = L.MaxPooling2D(3, strides=2, name="stem_pool")(L.ZeroPadding2D(1, name="stem_pad")(x))
    y = L.Conv2D(8, 3, padding="same", name="second")(
        L.ReLU(6.0)(L.Conv2D(8, 3, padding="same", name="first")(x))
    )
    x = L.ReLU(name="joined")(L.Add(name="join")([x, y]))
    z = L.Conv2D(8, 1, name="twice_read")(x)
    x = L.Add(name="join2")([z, L.ReLU(name="alone")(z)])
    x = L.Flatten(name="flat")(L.AveragePooling2D(4, name="average")(x))
    return keras.Model(image, L.Dense(5, name="answers")(x), name="residual")


@pytest.fixture(scope="module", params=[gated, residual], ids=lambda build: build.__name__)
def pair(request, images, tmp_path_factory):
    """A network, as it trains, and the INT8 file that LiteRT computes with the same ranges."""
    keras.utils.set_random_seed(3)
    model = request.param()
    for layer in model.layers:
        if getattr(layer, "bias", None) is not None:
            layer.bias.assign(np.random.default_rng(0).normal(0, 0.3, layer.bias.shape))
    folder = tmp_path_factory.mktemp("pair")
    return both(fold_constants(model), images, SPEC, folder)


def both(model, images, spec, folder):
    quantised = FakeQuantised(model, spec)
    choose_ranges(quantised, model, images)
    source, target = folder / "float32.tflite", folder / "int8.tflite"
    source.write_bytes(to_tflite(model))
    raise_small_kernels(source, tensor_ranges(source, images[:64], spec))
    quantise_trained(source, target, quantised.tensor_limits(), images, spec)
    return quantised, target


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(1)
    return prepare_all(
        [draw_face(label, rng) for label in ("happy", "angry", "surprise", "neutral") * 64], SPEC
    )


class Forced(FakeQuantised):
    """Goes on from LiteRT's tensors: notes what each operation gives for LiteRT's inputs, and passes LiteRT's
    output on.
    """

    def __init__(self, like: FakeQuantised, litert: dict[str, np.ndarray]):
        super().__init__(like.network, like.spec)
        self.ranges.assign(like.ranges)
        self.tensor_of, self.litert, self.seen = (
            {row: name for name, row in self.places.tensors.items()},
            litert,
            {},
        )

    def _rounded(self, name, values, low, high):
        made = [
            tensor
            for tensor, row in self.places.tensors.items()
            if row == self.places.rounded[name] and tensor in self.litert
        ]
        tensor = name if name in made else made[0]
        self.seen[tensor] = np.asarray(super()._rounded(name, values, low, high))
        return tf.reshape(tf.constant(self.litert[tensor]), values.shape)


def assert_layers_agree(quantised: FakeQuantised, path, images: np.ndarray, least: int):
    network = LiteRT(path, keep_tensors=True)
    steps = network.scales()
    for image in images:
        forced = Forced(quantised, network.tensors(image, quantised.spec))
        forced(normalise(image[None], quantised.spec))
        assert len(forced.seen) >= least
        for name, values in forced.seen.items():
            apart = np.abs(values.ravel() - forced.litert[name].ravel()) / steps[name]
            assert apart.max() <= 1.001, (name, apart.max())
    carried = set(forced.litert) - set(forced.seen)
    assert {steps[name] for name in carried} <= {steps[name] for name in forced.seen}  # such as padding
    return forced


def test_each_layer_is_within_one_step_of_litert(pair, images):
    quantised, path = pair
    least = {"gated": 14, "residual": 9}[quantised.network.name]
    forced = assert_layers_agree(quantised, path, images[:8], least)
    assert set(LiteRT(path, keep_tensors=True).scales()) <= set(quantised.places.tensors)
    off = np.mean([np.mean(v.ravel() != forced.litert[n].ravel()) for n, v in forced.seen.items()])
    assert off < 0.5


def test_the_answers_are_litert_s(pair, images):
    quantised, path = pair
    image = keras.Input(quantised.network.input_shape[1:])
    answers = keras.Model(image, quantised(image)).predict_on_batch(normalise(images, SPEC))
    assert (answers.argmax(axis=1) == LiteRT(path).logits(images, SPEC).argmax(axis=1)).sum() >= 254


def test_a_range_of_another_network_is_told(pair, images, tmp_path):
    quantised, path = pair
    limits = quantised.tensor_limits()
    del limits["answers"]
    with pytest.raises(UserError, match="1 tensors have no range, the first is answers"):
        quantise_trained(path.with_name("float32.tflite"), tmp_path / "x", limits, images, SPEC)


def test_what_cannot_be_rounded_is_named():
    image = keras.Input((8, 8, 3))
    x = L.Conv2D(4, 1)(image)
    for layer in (
        L.LayerNormalization(name="odd"),
        L.PReLU(name="odd"),
        L.BatchNormalization(name="odd"),
        L.Activation("gelu", name="odd"),
    ):
        model = keras.Model(
            image,
            L.Dense(2)(L.GlobalAveragePooling2D()(layer(L.Activation("hard_swish")(x)))),
            name="strange",
        )
        with pytest.raises(
            UserError,
            match=f"strange cannot be fine-tuned for 8 bits: its layer odd is a {type(layer).__name__}",
        ):
            FakeQuantised(model, SPEC)


def test_what_values_were_seen(images):
    model = gated()
    (found,) = tensor_values(model, ["stem"], images[:40], SPEC)
    values = keras.Model(model.input, model.get_layer("stem").output).predict_on_batch(
        normalise(images[:40], SPEC)
    )
    np.testing.assert_allclose(found.low, values.min(axis=(0, 1, 2)), atol=1e-5)
    np.testing.assert_allclose(found.high, values.max(axis=(0, 1, 2)), atol=1e-5)
    np.testing.assert_allclose(found.mean, values.mean(axis=(0, 1, 2)), atol=1e-5)
    assert len(found.sample) == 40 * 1024 and np.isin(found.sample.round(4), values.round(4)).mean() > 0.99


def test_ranges_end_where_an_h_swish_gives_zero():
    """One step of (3 + 6) / 254 below -3; whole ranges stay whole, and so do those that something else
    reads.
    """
    image = keras.Input((8, 8, 3))
    x, z = L.Conv2D(4, 1, name="read_once")(image), L.Conv2D(4, 1, name="read_twice")(image)
    x = L.Add()([L.Activation("hard_swish")(x), L.Activation("hard_swish")(z), z])
    model = keras.Model(image, L.Dense(2)(L.GlobalAveragePooling2D()(x)))
    sample = np.float32([-20, 6])
    found = {
        name: TensorRange(sample[:1], sample[1:], sample[:1] * 0, sample)
        for name in ("read_once", "read_twice")
    }
    assert ends_of(model, found, 100) == [(-20, 6)] * 2
    once, twice = ends_of(model, found, 99.99)
    assert once == pytest.approx((-3 - 9 / 254, 6), abs=0.01) and twice == pytest.approx((-20, 6), abs=0.01)


def constant_channels() -> keras.Model:
    """Nearly constant channels before a depthwise layer, whose rounding errors shift its outputs: what spoils
    MobileNets in INT8.
    """
    image = keras.Input((32, 32, 3))
    x = L.ReLU()(L.Conv2D(8, 3, strides=2, padding="same", name="stem")(image))
    x = L.ReLU()(L.DepthwiseConv2D(3, strides=2, name="spatial")(x))
    x = L.GlobalAveragePooling2D(name="pool")(L.ReLU()(L.Conv2D(16, 1, name="mix")(x)))
    return keras.Model(image, L.Dense(5, name="answers")(x), name="constant")


def test_a_network_that_rounding_spoils_gains(images, tmp_path):
    """By the predictions of LiteRT itself; only the float network teaches."""
    keras.utils.set_random_seed(5)
    model = constant_channels()
    stem, last = model.get_layer("stem"), model.get_layer("answers")
    stem.bias.assign(np.linspace(2, 30, 8))
    spread = keras.Model(model.input, last.input).predict_on_batch(normalise(images, SPEC))
    # Predictions that differ between images
    basis = np.linalg.svd(spread - spread.mean(axis=0), full_matrices=False)[2][:2]
    kernel = basis.T @ np.random.default_rng(0).normal(size=(2, 5))
    kernel *= 2 / ((spread - spread.mean(axis=0)) @ kernel).std()
    last.kernel.assign(kernel.astype(np.float32))
    last.bias.assign(-(spread.mean(axis=0) @ np.asarray(last.kernel)))
    expected = model.predict_on_batch(normalise(images, SPEC)).argmax(axis=1)
    assert np.bincount(expected, minlength=5).max() < 200
    student = keras.models.clone_model(model)
    student.set_weights(model.get_weights())
    quantised, source, target = FakeQuantised(student, SPEC), tmp_path / "f.tflite", tmp_path / "q.tflite"
    choose_ranges(quantised, model, images)

    def agreement() -> float:
        source.write_bytes(to_tflite(student))
        target.write_bytes(quantise_with(source, quantised.tensor_limits(), SPEC))
        return float((LiteRT(target).logits(images, SPEC).argmax(axis=1) == expected).mean())

    before, image = agreement(), keras.Input((32, 32, 3))
    taught = Distillation(1.0, 1.0)(Teachers([model])(image), quantised(image))
    trainer = keras.Model(image, taught)
    trainer.compile(keras.optimizers.Adam(3e-5))
    trainer.fit(normalise(images, SPEC), batch_size=64, epochs=40, verbose=0)
    assert before < 0.7 and agreement() > 0.8


@pytest.mark.slow
@pytest.mark.parametrize(("name", "least"), [("released", 250), ("released_minimalistic", 254)])
def test_released_networks_against_litert(name, least, shared, tmp_path):
    """Of the full network LiteRT's own kernels, XNNPACK's and the reference, agree on 248 of 256
    predictions.
    """
    from fer_hailo.common.config import load_config
    from fer_hailo.training.data.dataset import load_dataset

    folder = ROOT / "fer2013_keras_hailo" / name
    config = load_config(folder / "config.yaml", {"data": str(shared / "data" / "fer2013.zip")})
    data, spec = load_dataset(config, None), config.preprocess
    images, held = (prepare_all(part.images[:256], spec) for part in (data.train, data.val))
    network = as_logits(flatten(load_model(folder / "best_model_float32.keras")))
    network, _ = clean_network(network, data.train.images[:4096], data.val.images, spec)
    network, _, _ = equalise(network, images, data.val.images, spec)
    quantised, path = both(network, images, spec, tmp_path)
    assert_layers_agree(quantised, path, held[:4], 40)
    image = keras.Input(network.input_shape[1:])
    rounded = keras.Model(image, quantised(image))
    answers = np.concatenate([rounded.predict_on_batch(normalise(part, spec)) for part in np.split(held, 8)])
    assert (answers.argmax(axis=1) == LiteRT(path).logits(held, spec).argmax(axis=1)).sum() >= least
