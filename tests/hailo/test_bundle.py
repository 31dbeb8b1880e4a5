"""The deploy bundle: what is right is read back, and whatever is wrong with it is named in one line."""

import hashlib
import json
import os
import random
import shutil
import zipfile
from pathlib import Path

import handmade
import numpy as np
import pytest
from conftest import ROOT, error_line
from handmade import CALIBRATION, NAMES, TEST, VAL, compile_hef, pictures, write_bundle

from fer_hailo.common.errors import UserError
from fer_hailo.common.preprocess import PreprocessSpec
from fer_hailo.deploy.bundle import (
    FILES,
    FLOAT,
    PRIMITIVE,
    EvalSet,
    check_network,
    load_bundle,
    newest_bundle,
)
from fer_hailo.deploy.home import resolve
from fer_hailo.formats.tflite import Tensor, Tflite
from fer_hailo.script.files import fitted, read_scripts


@pytest.fixture(scope="module")
def right(tmp_path_factory) -> Path:
    """An intact bundle. Do not change it: copy it."""
    return write_bundle(tmp_path_factory.mktemp("right") / "deploy")


@pytest.fixture
def copy(right, tmp_path) -> Path:
    return shutil.copytree(right, tmp_path / "deploy")


def refusal(folder) -> str:
    with pytest.raises(UserError) as caught:
        load_bundle(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_an_intact_bundle(right):
    bundle = load_bundle(right)
    images, labels = pictures()
    assert (bundle.name, bundle.labels, bundle.spec) == ("handmade", NAMES, handmade.SPEC)
    assert np.array_equal(bundle.calibration(), images[-CALIBRATION:])
    pictures_ = bundle.evaluation()
    assert np.array_equal(pictures_.images, images[: VAL + TEST]) and np.array_equal(
        pictures_.labels, labels[: VAL + TEST]
    )
    assert pictures_.logits.shape == (VAL + TEST, 4) and list(pictures_.split[[0, VAL - 1, VAL]]) == [
        "val",
        "val",
        "test",
    ]
    assert bundle.network.input.shape == (1, 16, 16, 3) and bundle.network.output.shape == (1, 4)


def test_bundles_without_a_second_road_open(copy):
    assert [path.name for path in load_bundle(copy).roads] == [FLOAT, PRIMITIVE]
    (copy / PRIMITIVE).unlink()
    assert f"lacks {PRIMITIVE}" in refusal(copy)
    files = json.loads((copy / "manifest.json").read_text())["files"]
    del files[PRIMITIVE]
    handmade.reseal(copy, files=files)  # made before there was one
    assert [path.name for path in load_bundle(copy).roads] == [FLOAT]
    handmade.reseal(copy, without={PRIMITIVE: "no h-swish"})  # made without one
    assert [path.name for path in load_bundle(copy).roads] == [FLOAT]


@pytest.mark.parametrize("name", FILES)
def test_one_changed_byte(copy, name):
    rng, content = random.Random(name), (copy / name).read_bytes()
    for place in {0, len(content) - 1, *(rng.randrange(len(content)) for _ in range(12))}:
        changed = bytearray(content)
        changed[place] ^= 1 << rng.randrange(7)
        (copy / name).write_bytes(changed)
        assert name in refusal(copy), place
    (copy / name).write_bytes(content)
    load_bundle(copy)


def test_one_changed_byte_in_the_manifest(copy):
    path, rng = copy / "manifest.json", random.Random(1)
    content = path.read_bytes()
    for place in rng.sample([place for place, byte in enumerate(content) if byte not in b" \n"], 200):
        changed = bytearray(content)
        changed[place] ^= 1 << rng.randrange(7)
        path.write_bytes(changed)
        try:
            load_bundle(copy)
        except UserError as error:
            assert "manifest.json" in str(error) or "bundle of version" in str(error), (place, str(error))
        else:
            assert json.loads(changed) == json.loads(content)  # another way to write the same
    path.write_bytes(content.replace(b"\n", b"\r\n"))  # a copy that changed the line ends
    load_bundle(copy)


def test_headers_of_pictures_are_read_with_care(copy):
    """Every byte of them, so that whatever NumPy makes of it becomes one line."""
    for name, places in (("calib_set.npy", range(128)), ("eval_set.npz", range(-420, 0, 7))):
        content = (copy / name).read_bytes()
        for place in places:
            for value in (0, 57, 255):
                changed = bytearray(content)
                changed[place] = value if changed[place] != value else 1
                (copy / name).write_bytes(changed)
                assert name in refusal(copy), (place, value)
        (copy / name).write_bytes(content)


@pytest.mark.parametrize("name", FILES)
def test_missing_and_cut_files(copy, name):
    content = (copy / name).read_bytes()
    for part in (b"", content[: len(content) // 2], content[:10]):
        (copy / name).write_bytes(part)
        assert name in refusal(copy)
    (copy / name).unlink()
    assert refusal(copy) == (
        f"{copy} lacks {name}: copy the bundle again, or make a new one with convert_tflite.py"
    )
    (copy / name).mkdir()
    assert f"lacks {name}" in refusal(copy)


def test_no_bundle(tmp_path, right, monkeypatch):
    assert (
        refusal(tmp_path / "none")
        == f"no deploy bundle at {tmp_path / 'none'} (it has no manifest.json): make one with "
        "convert_tflite.py"
    )
    assert f"did you mean {right}?" in refusal(right.parent)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        UserError,
        match="no deploy bundle here nor in fer2013_keras_hailo: make one with python convert_tflite.py, or "
        "name",
    ):
        newest_bundle()


def test_the_newest_bundle(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number, run in enumerate(("b", "a")):
        folder = Path("fer2013_keras_hailo") / run / "deploy"
        folder.mkdir(parents=True)
        (folder / "manifest.json").touch()
        os.utime(folder / "manifest.json", (number, number))
    assert newest_bundle() == Path("fer2013_keras_hailo/a/deploy")
    Path("manifest.json").touch()
    assert newest_bundle() == Path(".")


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '{"schema": {}}', "[" * 100_000, "\xff", '{"schema": 1}', '{"name": "other"}'],
)
def test_damaged_manifests(copy, text):
    (copy / "manifest.json").write_text(text, encoding="latin-1")
    message = refusal(copy)
    assert "manifest.json" in message or "version {}" in message
    assert "copy the bundle again" in message or "use the compile_hef.pyz in it" in message


def test_another_version(copy):
    manifest = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").write_text(json.dumps(manifest | {"schema": 2}))
    assert (
        refusal(copy)
        == f"{copy} is a bundle of version 2, this program reads version 1: use the compile_hef.pyz in it"
    )


WRONG = {
    "int8 for float": (
        {"float32": "int8"},
        ["model_float32.tflite takes int8", "quantized", "parses the float32 one"],
    ),
    "float for int8": ({"int8": "float"}, ["model_int8.tflite takes float32 instead of int8"]),
    "int8 for plain": ({"plain": "int8"}, ["model_float32_primitive.tflite takes int8"]),
    "labels": (
        {"names": NAMES[:3]},
        [
            "model_float32.tflite tells 4 classes apart, labels.txt names 3 (blue, green, grey)",
            "convert_tflite.py",
        ],
    ),
    "normalised": (
        {"calibration": (pictures()[0][-CALIBRATION:] / 127.5 - 1).astype(np.float32)},
        [
            "calib_set.npy holds float32 from -1 to 1 (normalised already)",
            "takes the bytes 0..255",
            "convert_tflite.py",
        ],
    ),
    "floats": (
        {"calibration": pictures()[0][-CALIBRATION:].astype(np.float32)},
        ["holds float32 from 0 to 255: calibration takes"],
    ),
    "side": (
        {"calibration": np.zeros((8, 32, 32, 3), np.uint8)},
        ["calib_set.npy has the shape (8, 32, 32, 3), not (images, 16, 16, 3)"],
    ),
    "order": (
        {"calibration": np.zeros((8, 3, 16, 16), np.uint8)},
        ["has the shape (8, 3, 16, 16), not (images, 16, 16, 3)"],
    ),
    "none": ({"calibration": np.zeros((0, 16, 16, 3), np.uint8)}, ["has the shape (0, 16, 16, 3)"]),
    "preprocessing": (
        {"preprocess": handmade.SPEC.to_dict() | {"input_size": 32}},
        [
            "model_float32.tflite takes an input of shape (1, 16, 16, 3), the preprocessing makes (1, 32, "
            "32, 3)"
        ],
    ),
    "unknown preprocessing": (
        {"preprocess": {"blur": 2}},
        ["manifest.json describes a preprocessing that this version does not know"],
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_named(tmp_path, name):
    """With all digests right: the bundle was made so."""
    changes, words = WRONG[name]
    message = refusal(write_bundle(tmp_path / "deploy", **changes))
    assert all(word in message for word in words), message


def test_what_is_wrong_is_named_after_an_exchange_too(copy):
    """With a digest that tells: the reason is worth more than the digest."""
    shutil.copy(copy / "model_int8.tflite", copy / "model_float32.tflite")
    assert "takes int8: it is a quantized network" in refusal(copy)
    shutil.copy(copy / "labels.txt", copy / "model_float32.tflite")
    assert "model_float32.tflite is not a TFLite file" in refusal(copy)


def test_other_labels(copy):
    (copy / "labels.txt").write_text("green\nblue\ngrey\nred\n")
    message = refusal(copy)
    assert (
        "labels.txt names green, blue, grey, red, the network was trained on blue, green, grey, red"
        in message
    )


@pytest.mark.parametrize(
    "change, words",
    [
        ({"labels": np.arange(200) % 5}, "labels that do not fit the 4 classes"),
        ({"labels": np.zeros(10, np.int64)}, "of shape (200, 16, 16, 3) for 10 labels"),
        ({"images": np.zeros((200, 16, 16, 3), np.float32)}, "holds float32 images"),
        ({"logits": None}, "is no evaluation set"),
        ({"labels": np.array(["blue"] * 200)}, "labels, splits and logits of the wrong kind"),
        ({"labels": np.zeros((200, 2), np.int64)}, "of the wrong kind"),
        ({"split": np.zeros(200)}, "of the wrong kind"),
        ({"logits": np.zeros((200, 5), np.float32)}, "logits of shape (200, 5), which must be (200, 4)"),
        ({"logits": np.full((200, 4), np.nan, np.float32)}, "and finite"),
    ],
)
def test_evaluation_sets(copy, change, words):
    with np.load(copy / "eval_set.npz") as file:
        arrays = {name: value for name, value in (dict(file) | change).items() if value is not None}
    np.savez(copy / "eval_set.npz", **arrays)
    handmade.reseal(copy)
    assert "eval_set.npz" in refusal(copy) and words in refusal(copy)


def test_images_that_are_damaged_behind_their_header(copy):
    """Opened, only headers are read: the manifest's digest stands for the rest, and here that fits."""
    with zipfile.ZipFile(copy / "eval_set.npz") as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(copy / "eval_set.npz", "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    content = (copy / "eval_set.npz").read_bytes()
    at = content.index(parts["images.npy"]) + 500
    (copy / "eval_set.npz").write_bytes(content[:at] + bytes(50) + b"\x99" + content[at + 51 :])
    handmade.reseal(copy)
    bundle = load_bundle(copy)
    with pytest.raises(UserError, match=r"eval_set.npz is damaged \(BadZipFile: Bad CRC-32"):
        bundle.evaluation()
    assert len(bundle.calibration()) == CALIBRATION


@pytest.mark.parametrize("labels", [["red", ["green"], "blue", "grey"], "rgby", None, [1, 2, 3, 4]])
def test_labels_that_are_no_names(copy, labels):
    handmade.reseal(copy, labels=labels)
    assert "manifest.json cannot be read as the manifest of a bundle (TypeError: its labels" in refusal(copy)
    with pytest.raises(UserError, match=r"manifest.json does not tell labels and preprocessing \(TypeError"):
        resolve(copy).labels  # noqa: B018


def test_lines_stay_short(copy):
    handmade.reseal(copy, labels=["x" * 5000, *NAMES[1:]])
    assert "labels.txt names" in refusal(copy) and len(refusal(copy)) < 700
    handmade.reseal(copy, schema="x" * 5000)
    assert "is a bundle of version 'xxx" in refusal(copy) and len(refusal(copy)) < 300
    handmade.reseal(copy, schema=1, preprocess={"x" * 5000: 1})
    assert "does not know" in refusal(copy) and len(refusal(copy)) < 500


def test_a_network_whose_output_has_no_dimension():
    source = Tensor("in", (1, 16, 16, 3), "float32", (), False)
    nothing = Tensor("out", (), "float32", (), False)
    with pytest.raises(UserError, match=r"x.tflite tells no classes apart, labels.txt names 4 \("):
        check_network(Tflite(source, nothing, ()), Path("x.tflite"), handmade.SPEC, NAMES)


def test_a_manifest_without_a_files_digest(copy):
    content = json.loads((copy / "manifest.json").read_text())
    del content["sha256"], content["files"][FLOAT]
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    (copy / "manifest.json").write_text(json.dumps(content | {"sha256": digest}))
    assert f"manifest.json has no digest of {FLOAT}" in refusal(copy)


@pytest.mark.parametrize(
    "arguments, words",
    [
        (
            ["--hw-arch", "hailo9"],
            ["unknown --hw-arch hailo9 (did you mean hailo8?): hailo8, hailo8l, hailo8r"],
        ),
        (
            ["--steps", "parse,optimise"],
            ["unknown step optimise (did you mean optimize?): --steps takes parse,optimize,compile"],
        ),
        (
            ["--hw-arch", "hailo10h"],
            ["--hw-arch hailo10h is of another family", "(5.x)", "targets hailo8, hailo8l"],
        ),
        (["--rehearse", "--steps", "parse"], ["--rehearse runs no steps"]),
        (["--rehearse", "--try", "deploy/model.alls"], ["--rehearse takes one model script", "--alls"]),
        (["--max-drop", "all"], ["points of accuracy are a number from 0 to 100, not all"]),
        (["--max-drop", "nan"], ["points of accuracy"]),
        (["--quick", "0"], ["a whole number from 1 on, not 0"]),
        (["--quick", "some"], ["a whole number from 1 on, not some"]),
        (["--alls", "none.alls"], ["cannot read the model script none.alls"]),
        (["--alls", "deploy/model_float32.tflite"], ["model_float32.tflite"]),
        (["--out", "deploy/labels.txt"], ["labels.txt", "choose another folder"]),
        (["--hwarch", "hailo8"], ["unknown option --hwarch (did you mean --hw-arch?)"]),
        (["--chip", "hailo8"], ["unknown option --chip (see --help)"]),
    ],
)
def test_the_command_line_is_checked(copy, arguments, words):
    line = error_line(compile_hef("deploy", *arguments, cwd=copy.parent))
    assert all(word in line for word in words), line


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("m.har", "--inspect m.har tells what is in it"),
        ("m.hef", "--inspect m.hef tells what is in it"),
        ("m.keras", "make one with python convert_tflite.py m.keras"),
        ("m.tflite", "make one of the model's Keras file with convert_tflite.py"),
    ],
)
def test_a_file_in_place_of_a_bundle(tmp_path, monkeypatch, name, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).touch()
    with pytest.raises(UserError, match=rf"{name} is a file, and a deploy bundle is a folder: .*{said}"):
        load_bundle(name)


def test_a_changed_script_of_the_bundle_is_refused_with_the_way_to_use_it(copy):
    with open(copy / "model.alls", "a") as file:
        file.write("performance_param(compiler_optimization_level=max)\n")
    assert "model.alls is not the file" in refusal(copy) and "your own with --alls" in refusal(copy)


def test_own_scripts_fit_a_bundle_of_another_recipe(copy, tmp_path):
    """The handmade bundle has far fewer calibration images than the scripts of alls/ state."""
    result = compile_hef("--lint", ROOT / "alls/fast.alls", "--bundle", copy, cwd=tmp_path, sdk=False)
    assert result.returncode == 0 and "fast.alls: 0 errors" in result.stdout
    mine = tmp_path / "fast.alls"
    mine.write_text((ROOT / "alls/fast.alls").read_text())
    result = compile_hef("--lint", mine, "--bundle", copy, cwd=tmp_path, sdk=False)
    assert result.returncode == 2 and "calibset_size is 1024" in result.stdout
    spec = PreprocessSpec(mean=0.0, scale=255.0)
    script = fitted(read_scripts([ROOT / "alls/fast.alls", ROOT / "alls/output16.alls"]), spec, 700)
    assert "normalization([0.0, 0.0, 0.0], [255.0, 255.0, 255.0])" in script.texts[0]
    assert "calibset_size=700" in script.texts[0]
    assert script.texts[1] == (ROOT / "alls/output16.alls").read_text()
    lines = read_scripts([ROOT / "alls/mobilenet_v3_small_a16.alls"])
    assert fitted(lines, spec, 700) == lines


def test_a_script_that_does_not_fit_the_bundle(copy, tmp_path):
    (tmp_path / "swapped.alls").write_text(
        handmade.SCRIPT.replace("normalization([127.5", "normalization([120.5")
    )
    result = compile_hef("deploy", "--alls", "swapped.alls", cwd=tmp_path)
    assert "swapped.alls has 1 error, see above: nothing was compiled" in error_line(result)
    assert "swapped.alls:1:" in result.stderr and not (copy / "hailo8").exists()


@pytest.mark.parametrize("count", [1, 10, 30, 1000])
def test_quick_takes_each_class_in_its_share(count):
    """120 images for validation of 60, 40, 19 and 1, and 20 for test of one class."""
    labels = np.repeat([0, 1, 2, 3, 2], [60, 40, 19, 1, 20])
    images = np.arange(140, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
    everything = EvalSet(images, labels, np.repeat(["val", "test"], [120, 20]), np.zeros((140, 4)))
    some = everything.quick(count)
    counts = {
        split: np.bincount(some.labels[some.split == split], minlength=4).tolist()
        for split in ("val", "test")
    }
    assert (
        counts
        == {
            1: {
                "val": [1, 1, 1, 1],
                "test": [0, 0, 1, 0],
            },  # half an image is rounded to an even number, but none is too few
            10: {"val": [5, 3, 2, 1], "test": [0, 0, 10, 0]},
            30: {"val": [15, 10, 5, 1], "test": [0, 0, 20, 0]},
            1000: {"val": [60, 40, 19, 1], "test": [0, 0, 20, 0]},
        }[count]
    )
    places = some.images[:, 0, 0, 0].astype(int)
    assert len(set(places)) == len(places) and np.array_equal(labels[places], some.labels)
    assert np.array_equal(everything.quick(count).images, some.images)
