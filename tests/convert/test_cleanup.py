"""Dead units and constant gates, on small networks whose weights are set by hand."""

import keras
import numpy as np
import pytest

from fer_hailo.common.errors import UserError
from fer_hailo.common.preprocess import PreprocessSpec
from fer_hailo.training.convert import watch as watch_module
from fer_hailo.training.convert.cleanup import Judge, clean_network
from fer_hailo.training.convert.graph import Edit, as_logits, flatten, graph_of, rebuild
from fer_hailo.training.evaluate.score import Scorer

SPEC = PreprocessSpec(source_size=16, input_size=16)
L = keras.layers


@pytest.fixture(scope="module")
def pictures():
    return np.random.default_rng(0).integers(0, 256, (64, 16, 16), dtype=np.uint8)


def network(squeeze_bias, gate_bias=0.0):
    """Convolution, squeeze-and-excite with four squeeze units, projection, a dense layer of three units,
    logits.
    """
    keras.utils.set_random_seed(1)
    image = keras.Input((16, 16, 3))
    x = L.Conv2D(6, 3, activation="relu", name="first")(image)
    s = L.GlobalAveragePooling2D(keepdims=True, name="pool")(x)
    s = L.Conv2D(4, 1, name="squeeze")(s)
    s = L.ReLU(name="squeeze_relu")(s)
    s = L.Conv2D(6, 1, name="excite")(s)
    s = L.ReLU(6.0)(s + 3.0) * (1 / 6)
    x = L.Multiply(name="gate")([x, s])
    x = L.Conv2D(5, 1, use_bias=False, name="project")(x)
    x = L.BatchNormalization(name="norm")(x)
    x = L.GlobalAveragePooling2D()(x)
    x = L.Dense(3, use_bias=False, name="dense")(x)
    x = L.BatchNormalization(name="dense_norm")(x)
    x = L.ReLU(name="dense_relu")(x)
    x = L.Dropout(0.5)(x)
    model = keras.Model(image, L.Dense(2, name="logits")(x))
    model.get_layer("squeeze").bias.assign(squeeze_bias)
    model.get_layer("excite").bias.assign(np.full(6, gate_bias))
    # The first unit is dead, whatever its kernel says
    model.get_layer("dense_norm").beta.assign([-1e3, 1.0, 0.5])
    return model


def logits(model, pictures):
    return Scorer(model, SPEC).logits(pictures)


def test_dead_units_go_and_the_answers_stay(pictures):
    model = network([-1e3, 5, 5, -1e3])
    clean, changes = clean_network(model, pictures, pictures[:8], SPEC)
    assert [(c.layer, c.removed, c.units, c.kept) for c in changes] == [
        ("squeeze", 2, 4, True),
        ("dense", 1, 3, True),
    ]
    assert clean.get_layer("squeeze").filters == 2 and clean.get_layer("excite").kernel.shape == (1, 1, 2, 6)
    assert clean.get_layer("dense").units == 2 and clean.get_layer("dense_norm").gamma.shape == (2,)
    np.testing.assert_allclose(logits(clean, pictures), logits(model, pictures), atol=1e-6)


def test_a_gate_that_is_constant_is_folded_and_its_branch_is_gone(pictures):
    model = network([-1e3] * 4, gate_bias=[0.0, 1.0, 2.0, 3.0, -3.0, -1.0])
    clean, changes = clean_network(model, pictures, pictures[:8], SPEC)
    assert [(c.layer, c.what) for c in changes] == [
        ("gate", "constant gate folded"),
        ("dense", "constant units pruned"),
    ]
    assert not {"pool", "squeeze", "excite", "gate"} & {layer.name for layer in clean.layers}
    # relu6(bias + 3) / 6, by hand
    gates = np.array([3, 4, 5, 6, 0, 2]) / 6
    expected = model.get_layer("project").get_weights()[0] * gates[:, None]
    np.testing.assert_allclose(clean.get_layer("project").get_weights()[0], expected, rtol=1e-6)
    np.testing.assert_allclose(logits(clean, pictures), logits(model, pictures), atol=1e-6)


def test_a_constant_that_is_not_zero_moves_into_the_bias(pictures):
    model = network([5, 5, 5, 5])
    kernel, bias = model.get_layer("squeeze").get_weights()
    kernel[..., 1] = 0  # constant 5
    model.get_layer("squeeze").set_weights([kernel, bias])
    before = model.get_layer("excite").get_weights()
    clean, changes = clean_network(model, pictures, pictures[:8], SPEC)
    assert ("squeeze", 1) in [(c.layer, c.removed) for c in changes]
    expected = before[1] + 5 * before[0][0, 0, 1]
    np.testing.assert_allclose(clean.get_layer("excite").get_weights()[1], expected, rtol=1e-5)
    np.testing.assert_allclose(logits(clean, pictures), logits(model, pictures), atol=1e-5)


def test_a_unit_that_lives_on_validation_only_is_kept(pictures):
    """It is 0 on every training image (dark), not on the bright ones."""
    model = network([5, 5, 5, 5])
    first = model.get_layer("first")
    first.set_weights([np.abs(first.get_weights()[0]), np.full(6, 9.0)])
    dark, bright = pictures // 16, np.full((8, 16, 16), 255, np.uint8)
    pooled = logits(keras.Model(model.input, L.Flatten()(model.get_layer("pool").output)), dark)
    kernel, bias = model.get_layer("squeeze").get_weights()
    # The sum of all channels, less than it is on any dark image
    kernel[..., 0], bias[0] = (1.0, -pooled.sum(axis=1).max() - 0.1)
    model.get_layer("squeeze").set_weights([kernel, bias])
    model.get_layer("excite").kernel.assign(np.full((1, 1, 4, 6), 0.01))  # so small that no gate saturates
    clean, changes = clean_network(model, dark, bright, SPEC)
    (change,) = [c for c in changes if c.layer in ("squeeze", "gate")]
    assert not change.kept and change.moved > 1e-3 and "gate" in {layer.name for layer in clean.layers}
    np.testing.assert_allclose(logits(clean, bright), logits(model, bright), atol=1e-3)


def test_nothing_constant_nothing_changed(pictures):
    model = network([5, 5, 5, 5])
    model.get_layer("dense_norm").beta.assign([50.0, 50.0, 50.0])
    clean, changes = clean_network(model, pictures, pictures[:8], SPEC)
    assert changes == [] and clean is model


def test_a_first_look_is_enough_where_all_units_vary(pictures, monkeypatch):
    watched = []

    def watcher(*arguments):
        watch = watch_module.watcher(*arguments)
        return lambda images, label: watched.append(len(images)) or watch(images, label)

    monkeypatch.setattr("fer_hailo.training.convert.cleanup.watcher", watcher)
    monkeypatch.setattr("fer_hailo.training.convert.cleanup.LOOKED", 16)
    model = network([5, 5, 5, 5])
    model.get_layer("dense_norm").beta.assign([50.0, 50.0, 50.0])
    assert clean_network(model, pictures, pictures[:8], SPEC)[1] == [] and watched == [16]
    model = network([-1e3, 5, 5, -1e3])
    assert len(clean_network(model, pictures, pictures[:8], SPEC)[1]) == 2 and watched[1:] == [16, 64, 8]


def test_each_image_s_logits_before_are_computed_once(pictures):
    """Of the original, for three changes that are judged by the same images."""
    model, calls = network([-1e3, 5, 5, -1e3]), []
    watch = watch_module.watcher(model, ["squeeze_relu"], SPEC, len(pictures))
    judge = Judge(model, watch, {"squeeze_relu": (np.zeros(4), np.zeros(4))}, pictures, SPEC)
    compute = judge._logits
    judge._logits = lambda network, numbers: (
        calls.append((network, len(numbers))) or compute(network, numbers)
    )
    other = rebuild(model, Edit(weights={"logits": [w + 1 for w in model.get_layer("logits").get_weights()]}))
    dead = np.array([True, False, False, True])
    expected = np.abs(logits(other, pictures) - logits(model, pictures)).max()
    for network_, moved in ((model, 0), (other, expected), (model, 0)):
        assert judge.moved(network_, "squeeze_relu", dead) == pytest.approx(moved, rel=1e-3)
    assert [count for made, count in calls if made is model] == [64, 64, 0, 0, 64]


def test_cleaned_model_opens_in_plain_keras(pictures, tmp_path):
    clean, _ = clean_network(network([-1e3] * 4), pictures, pictures[:8], SPEC)
    clean.save(tmp_path / "clean.keras")
    again = keras.models.load_model(tmp_path / "clean.keras")
    np.testing.assert_array_equal(logits(again, pictures), logits(clean, pictures))


@pytest.mark.parametrize("order", ["gate first", "bare operation"])
def test_a_gate_is_found_however_it_is_multiplied(order, pictures):
    keras.utils.set_random_seed(4)
    image = keras.Input((16, 16, 3))
    x = L.Conv2D(6, 3, activation="relu")(image)
    s = L.Conv2D(4, 1, activation="relu", bias_initializer=keras.initializers.Constant(-1e3))(
        L.GlobalAveragePooling2D(keepdims=True)(x)
    )
    s = L.Conv2D(6, 1, activation="sigmoid", bias_initializer="ones", name="excite")(s)
    x = L.Multiply()([s, x]) if order == "gate first" else x * s
    x = L.Conv2D(5, 1, use_bias=False, name="project")(x)
    model = keras.Model(image, L.Dense(2)(L.GlobalAveragePooling2D()(x)))
    clean, changes = clean_network(model, pictures, pictures[:8], SPEC)
    assert [c.what for c in changes] == ["constant gate folded"] and "excite" not in {
        layer.name for layer in clean.layers
    }
    np.testing.assert_allclose(logits(clean, pictures), logits(model, pictures), atol=1e-6)


def test_a_constant_map_of_one_channel_is_left_alone(pictures):
    """What is kept has another shape than the product: nothing to fold into."""
    image = keras.Input((16, 16, 3))
    mask = L.Conv2D(1, 1, activation="sigmoid")(image)
    still = L.Conv2D(6, 1, kernel_initializer="zeros", bias_initializer="ones")(image)
    x = L.Conv2D(5, 1)(L.Multiply()([mask, still]))
    model = keras.Model(image, L.Dense(2)(L.GlobalAveragePooling2D()(x)))
    clean, _ = clean_network(model, pictures, pictures[:8], SPEC)
    np.testing.assert_allclose(logits(clean, pictures), logits(model, pictures), atol=1e-6)


def test_every_training_picture_counts(pictures, monkeypatch):
    """A squeeze unit that one image alone, in the last batch, brings to life is not dead."""
    monkeypatch.setattr("fer_hailo.training.convert.cleanup.BATCH", 16)
    model = network([5, 5, 5, 5])
    model.get_layer("dense_norm").beta.assign([50.0, 50.0, 50.0])
    train = np.concatenate([pictures // 16, np.full((1, 16, 16), 255, np.uint8)])
    pooled = logits(keras.Model(model.input, L.Flatten()(model.get_layer("pool").output)), train)
    kernel, bias = model.get_layer("squeeze").get_weights()
    difference = pooled[-1] - pooled[:-1].mean(0)  # the direction in which the last image lies apart
    along = pooled @ difference
    kernel[0, 0, :, 0], bias[0] = difference, -(along[:-1].max() + along[-1]) / 2
    model.get_layer("squeeze").set_weights([kernel, bias])
    assert along[-1] > along[:-1].max()
    assert clean_network(model, train, train[:4], SPEC)[1] == []
    assert [c.layer for c in clean_network(model, train[:-1], train[:4], SPEC)[1]] == ["squeeze"]


def test_a_constant_goes_into_a_bias_that_was_not_there(pictures):
    """And a layer of constants keeps one unit, since none is no layer."""
    image = keras.Input((16, 16, 3))
    x = L.Dense(3, kernel_initializer="zeros", name="still")(L.GlobalAveragePooling2D()(image))
    model = keras.Model(image, L.Dense(2, use_bias=False, name="end")(L.ReLU()(x)))
    model.get_layer("still").bias.assign([5.0, 2.0, -1.0])
    end = model.get_layer("end").get_weights()[0]
    clean, (change,) = clean_network(model, pictures, pictures[:8], SPEC)
    assert (change.removed, change.units, clean.get_layer("still").units) == (2, 3, 1)
    np.testing.assert_allclose(clean.get_layer("end").get_weights()[1], 2 * end[1], rtol=1e-6)
    np.testing.assert_allclose(logits(clean, pictures), logits(model, pictures), atol=1e-6)


@pytest.mark.parametrize("kind", ["two outputs", "two inputs", "subclass"])
def test_what_is_no_classifier_is_refused(kind):
    image, other = keras.Input((16, 16, 3)), keras.Input((4,))
    x = L.GlobalAveragePooling2D()(image)
    models = {"two outputs": lambda: keras.Model(image, [L.Dense(2)(x), L.Dense(1)(x)]),
              "two inputs": lambda: keras.Model([image, other], L.Dense(2)(L.Concatenate()([x, other]))),
              "subclass": lambda: type("Own", (keras.Model,), {"call": lambda self, x: x})()}  # fmt: skip
    with pytest.raises(UserError, match="not a classifier"):
        flatten(models[kind]())


def test_equal_names_and_half_precision_in_nested_models(pictures):
    keras.config.set_dtype_policy("mixed_float16")
    try:
        blocks = [keras.Sequential([L.Conv2D(3, 3, name="same"), L.ReLU()]) for _ in range(2)]
        nested = keras.Sequential(
            [keras.Input((16, 16, 3)), *blocks, L.GlobalAveragePooling2D(), L.Dense(2, dtype="float32")]
        )
    finally:
        keras.config.set_dtype_policy("float32")
    flat = flatten(nested)
    assert {layer.compute_dtype for layer in flat.layers} == {"float32"} and len(
        {layer.name for layer in flat.layers}
    ) == len(flat.layers)
    # Half precision has 3 digits
    np.testing.assert_allclose(logits(flat, pictures), logits(nested, pictures), atol=0.05)
    kernels = [layer.get_weights()[0] for layer in flat.layers if isinstance(layer, L.Conv2D)]
    np.testing.assert_array_equal(kernels, [block.get_layer("same").get_weights()[0] for block in blocks])


def test_graph_reads_branches_and_bare_operations():
    graph = graph_of(network([0] * 4))
    assert graph.only_consumer("project") == "norm" and graph.only_consumer("first") is None
    assert graph.consumers["first"] == ["pool", "gate"] and graph.inputs["gate"][0] == "first"


def test_rebuild_changes_nothing_by_itself(pictures):
    model = network([1, 2, 3, 4])
    np.testing.assert_array_equal(logits(rebuild(model, Edit()), pictures), logits(model, pictures))


def test_a_model_inside_a_model_is_laid_out_flat(pictures):
    inner = network([-1e3, 5, 5, 5])
    backbone = keras.Model(inner.input, inner.get_layer("norm").output, name="backbone")
    image = keras.Input((16, 16, 3))
    x = backbone(image, training=False)
    nested = keras.Model(
        image, keras.Sequential([L.GlobalAveragePooling2D(), L.Dense(2, activation="softmax", name="end")])(x)
    )
    flat = flatten(nested)
    assert not any(isinstance(layer, keras.Model) for layer in flat.layers)
    np.testing.assert_allclose(logits(flat, pictures), logits(nested, pictures), atol=1e-6)
    _, changes = clean_network(as_logits(flat), pictures, pictures[:8], SPEC)
    assert ("squeeze", 1) in [(c.layer, c.removed) for c in changes]


@pytest.mark.parametrize(
    "end",
    [[L.Dense(2, activation="softmax")], [L.Dense(2), L.Softmax()], [L.Dense(2), L.Activation("softmax")]],
)
def test_a_softmax_at_the_end_is_taken_off(end, pictures):
    model = flatten(
        keras.Sequential(
            [
                keras.Input((16, 16, 3)),
                L.GlobalAveragePooling2D(),
                *[e.__class__.from_config(e.get_config()) for e in end],
            ]
        )
    )
    plain = as_logits(model)
    values = logits(plain, pictures).astype(np.float64)
    powers = np.exp(values)
    np.testing.assert_allclose(powers / powers.sum(1, keepdims=True), logits(model, pictures), atol=1e-6)
    assert as_logits(plain) is plain


def test_a_bare_softmax_at_the_end_is_taken_off(pictures):
    image = keras.Input((16, 16, 3))
    x = L.Dense(2, name="end")(L.GlobalAveragePooling2D()(image))
    plain = as_logits(flatten(keras.Model(image, keras.ops.softmax(x))))
    assert plain.layers[-1].name == "end"
    np.testing.assert_allclose(logits(plain, pictures), logits(keras.Model(image, x), pictures), atol=1e-6)
