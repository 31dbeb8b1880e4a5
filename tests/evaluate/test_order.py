"""Models from elsewhere, whose classes stand in another order than the alphabet's."""

import json

import cv2
import numpy as np
import pytest
from conftest import error_line

from fer_hailo.common.errors import UserError
from fer_hailo.training.evaluate.order import accuracy_in, better_order, check_order, usual_orders

NAMES = ("angry", "happy", "neutral", "sad")
LEVELS = {"angry": 40, "happy": 90, "neutral": 150, "sad": 210}  # brightness of the drawn classes
RAF = ("happy", "sad", "angry", "neutral")  # in RAF-DB's order 4, 5, 6, 7


def test_orders_by_hand():
    assert usual_orders(("angry", "happy", "neutral", "sad")) == {
        "FER2013": ("angry", "happy", "sad", "neutral"),
        "RAF-DB": RAF,
        "AffectNet": ("neutral", "happy", "sad", "angry"),
        "FER+": ("neutral", "happy", "sad", "angry"),
        "the alphabet": NAMES,
    }
    assert usual_orders(("Sadness", "contempt"))["AffectNet"] == ("Sadness", "contempt")
    assert "FER2013" not in usual_orders(("Sadness", "contempt"))
    assert usual_orders(("tired", "bored")) == {"the alphabet": ("bored", "tired")}


def test_accuracy_by_a_plain_loop():
    rng = np.random.default_rng(0)
    truth, outputs = rng.integers(0, 4, (2, 500))
    matrix = np.zeros((4, 4), int)
    np.add.at(matrix, (truth, outputs), 1)
    for order in usual_orders(NAMES).values():
        plain = np.mean([order[output] == NAMES[label] for label, output in zip(truth, outputs, strict=True)])
        assert accuracy_in(matrix, NAMES, order) == pytest.approx(plain)


def test_a_better_order_is_named_and_chance_is_not():
    truth = np.random.default_rng(0).integers(0, 4, 400)
    matrix = np.zeros((4, 4), int)
    np.add.at(matrix, (truth, [RAF.index(NAMES[label]) for label in truth]), 1)
    assert better_order(matrix, NAMES) == "RAF-DB"
    with pytest.raises(UserError, match=r"of RAF-DB on 100.0%: .* add --classes happy,sad,angry,neutral or"):
        check_order(matrix, NAMES)
    check_order(np.diag([100] * 4), NAMES)
    for seed in range(50):  # networks that know nothing
        chance = np.random.default_rng(seed).multinomial(200, np.full(16, 1 / 16)).reshape(4, 4)
        assert better_order(chance, NAMES) is None


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    """A folder with grey images, bright as their class, and bare.keras, which tells them by that without a
    mistake, in RAF-DB's order: the logit of a class is how near its brightness is.
    """
    import keras

    folder = tmp_path_factory.mktemp("elsewhere")
    rng = np.random.default_rng(0)
    for label, level in LEVELS.items():
        for side, count in (("train", 40), ("test", 5)):
            (folder / "data" / side / label).mkdir(parents=True)
            for number in range(count):
                grey = np.clip(level + rng.normal(0, 8, (32, 32)), 0, 255).astype(np.uint8)
                cv2.imwrite(str(folder / "data" / side / label / f"{number}.png"), grey)
    image = keras.Input((32, 32, 3))
    brightness = keras.layers.Flatten()(keras.layers.GlobalAveragePooling2D()(image))
    outputs = keras.layers.Dense(4, name="logits")(brightness)
    model, centres = keras.Model(image, outputs), np.array([LEVELS[name] / 127.5 - 1 for name in RAF])
    # -(b - c)^2 without b^2, which all have; b is the mean of three channels
    model.layers[-1].set_weights([np.tile(200 * centres / 3, (3, 1)), -100 * centres**2])
    model.save(folder / "bare.keras")
    return folder


@pytest.fixture
def evaluated(elsewhere, inside):
    flags = ["--data", elsewhere / "data", "--source-size", 32, "--input-size", 32]

    def call(*others, script="evaluate.py", model=elsewhere / "bare.keras"):
        return inside(script, model, *flags, *others)

    return call


def test_another_order_than_the_one_taken_is_an_error(evaluated):
    """It was 0 % and exit status 0."""
    for script in ("evaluate.py", "convert_tflite.py"):
        said = error_line(evaluated("--classes", ",".join(NAMES), script=script))
        assert "right on 0.0% of the validation images, in that of RAF-DB on 100.0%" in said
        assert "--classes happy,sad,angry,neutral" in said


def test_the_order_that_is_named_is_the_models(evaluated):
    done = evaluated("--classes", "happy,sad,angry,neutral", "--json")
    assert done.returncode == 0, done.stderr
    metrics = json.loads(done.stdout)
    assert metrics["accuracy"] == 1 and metrics["labels"] == list(RAF)
    assert "nothing states the order of the model's classes; it is taken as happy, sad" in done.stderr


def test_labels_txt_beside_it_is_taken_at_its_word(elsewhere, evaluated, tmp_path):
    (tmp_path / "bare.keras").write_bytes((elsewhere / "bare.keras").read_bytes())
    for names, right in ((["Happiness", "sadness", "Angry", "neutral"], 1), (NAMES, 0)):
        (tmp_path / "labels.txt").write_text("\n".join(names))
        done = evaluated("--json", model=tmp_path / "bare.keras")
        metrics = json.loads(done.stdout)
        assert metrics["accuracy"] == right and metrics["labels"] == list(names)
        assert "nothing states" not in done.stderr
