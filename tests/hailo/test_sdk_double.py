"""The double of the vendor's SDK in doubles/sdk: that it keeps the rules it stands for, and that its numbers
are real.

It runs in processes of its own, as it must be imported before TensorFlow, which builds the networks here.
"""

import hashlib
import json
import os
import signal
import struct
import subprocess
import sys
import tarfile
import textwrap

import numpy as np
import pytest
from conftest import ROOT
from handmade import that_tells_colours

from fer_hailo.formats.hef import read_hef

DOWNGRADE = (
    "Reducing optimization level to 0 (the accuracy won't be optimized and compression won't be "
    "used) because there's no available GPU"
)
SCRIPT = "normalization1 = normalization([127.5, 127.5, 127.5], [127.5, 127.5, 127.5])\n"

# What all code run by `sdk` begins with.
PRELUDE = """
import json, sys
import numpy as np
import hailo_sdk_client
from hailo_sdk_client import ClientRunner, InferenceContext

NATIVE, FP, QUANTIZED = InferenceContext.SDK_NATIVE, InferenceContext.SDK_FP_OPTIMIZED, InferenceContext.SDK_QUANTIZED
SCRIPT = {script!r}
images, labels = np.load("images.npy"), np.load("labels.npy")
scaled = images.astype(np.float32) / 127.5 - 1

def parsed(model="float.tflite", **options):
    runner = ClientRunner(hw_arch="hailo8")
    runner.translate_tf_model(model, "net", **options)
    return runner

def optimized(script=SCRIPT, calibration=images):
    runner = parsed()
    runner.load_model_script(script)
    runner.optimize(calibration)
    return runner

def infer(runner, context, data):
    with runner.infer_context(context) as handle:
        return runner.infer(handle, data)

def accuracy(runner, context, data):
    return float((infer(runner, context, data).argmax(-1) == labels).mean())

def worst(runner):
    runner.analyze_noise(images, batch_size=2, data_count=8, analyze_mode="simple")
    return min(map(float, runner.get_params_statistics().values()))

def raised(call, *arguments, **options):
    try:
        call(*arguments, **options)
    except Exception as error:
        return [[kind.__name__ for kind in type(error).__mro__][0], str(error)]
    return ["", ""]

def answer(value):
    json.dump(value, open("answer.json", "w"))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """images.npy: 200 pictures of 16 x 16, each in one of four colours, dark or bright, with noise;
    labels.npy.

    A network that tells the colours apart (its last layer by least squares) as TFLite: float, for a batch of
    2, for any batch, with an argmax at the end, and int8.
    """
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    rng = np.random.default_rng(1)
    labels = np.arange(200) % 4
    colours = np.array([[180, 130, 130], [130, 180, 130], [130, 130, 180], [130, 130, 130]])
    light = rng.uniform(0.7, 1.3, (200, 1, 1, 1))
    images = np.clip(
        colours[labels][:, None, None] * light + rng.normal(0, 60, (200, 16, 16, 3)), 0, 255
    ).astype(np.uint8)
    model = that_tells_colours(images.astype(np.float32) / 127.5 - 1, labels)
    folder = tmp_path_factory.mktemp("sdk")

    def convert(name, batch=1, end=lambda logits: logits, int8=False):
        spec = tf.TensorSpec((batch, 16, 16, 3), tf.float32, name="image")
        function = tf.function(lambda image: end(model(image, training=False))).get_concrete_function(spec)
        converter = tf.lite.TFLiteConverter.from_concrete_functions(
            [convert_variables_to_constants_v2(function)]
        )
        if int8:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.representative_dataset = lambda: (
                [image[None].astype(np.float32) / 127.5 - 1] for image in images[:8]
            )
        (folder / f"{name}.tflite").write_bytes(converter.convert())

    convert("float")
    convert("pair", batch=2)
    convert("dynamic", batch=None)
    convert("argmax", end=lambda logits: tf.argmax(logits, -1))
    convert("int8", int8=True)
    convert("factor", end=lambda logits: tf.nn.relu(logits) * tf.constant([1.0, 2.0, 3.0, 4.0]))
    # Of more than a number a channel
    factors = tf.constant([[[1.0], [2.0]], [[3.0], [4.0]]])
    convert(
        "places",
        end=lambda logits: tf.nn.max_pool2d(tf.reshape(logits, (1, 2, 2, 1)), 2, 1, "SAME") * factors,
    )
    np.save(folder / "images.npy", images)
    np.save(folder / "labels.npy", labels)
    return folder


@pytest.fixture
def run(folder):
    """Run code against the double with switches set; gives the CompletedProcess."""

    def call(code: str, **switches) -> subprocess.CompletedProcess:
        environment = {
            "PYTHONPATH": str(ROOT / "doubles" / "sdk"),
            "FER_HAILO_SDK_DOUBLE": json.dumps(switches),
        }
        program = PRELUDE.format(script=SCRIPT) + textwrap.dedent(code)
        command = [sys.executable, "-c", program]
        return subprocess.run(
            command, cwd=folder, env=os.environ | environment, capture_output=True, text=True, timeout=100
        )

    return call


@pytest.fixture
def sdk(run, folder):
    """As `run`, for code that calls answer(): gives its argument."""

    def call(code: str, **switches):
        result = run(code, **switches)
        assert result.returncode == 0, result.stderr
        return json.loads((folder / "answer.json").read_text())

    return call


def test_whole_chain(sdk, folder):
    sdk("""
        states = [ClientRunner(hw_arch="hailo8l").state.name]
        runner = ClientRunner(hw_arch="hailo8l")
        hn, params = runner.translate_tf_model("float.tflite", "net")
        assert hn == runner.get_hn_dict() == runner.get_hn() and set(params) == set(runner.get_params())
        states.append(runner.state.name)
        runner.save_har("model.har")
        runner = ClientRunner(har="model.har")
        runner.load_model_script(SCRIPT)
        runner.optimize_full_precision(calib_data=images)
        states.append(runner.state.name)
        np.save("fp.npy", infer(runner, FP, images))
        runner.optimize(images)
        states.append(runner.state.name)
        runner.save_har("quantized.har")
        runner = ClientRunner(hw_arch="hailo8l")
        runner.load_har("quantized.har")
        np.save("native.npy", infer(runner, NATIVE, scaled))
        np.save("quantized.npy", infer(runner, QUANTIZED, images))
        runner.analyze_noise(images, batch_size=2, data_count=len(images), analyze_mode="simple")
        noise = {key.removesuffix("/layer_noise_analysis/snr"): float(value) for key, value in runner.get_params_statistics().items()}
        open("model.hef", "wb").write(runner.compile())
        states.append(runner.state.name)
        answer([states, noise])
    """)
    states, noise = json.loads((folder / "answer.json").read_text())
    assert states == [
        "UNINITIALIZED",
        "HAILO_MODEL",
        "FP_OPTIMIZED_MODEL",
        "QUANTIZED_MODEL",
        "COMPILED_MODEL",
    ]

    native, fp, quantized = (np.load(folder / f"{name}.npy") for name in ("native", "fp", "quantized"))
    images, labels = np.load(folder / "images.npy"), np.load(folder / "labels.npy")
    assert native.shape == fp.shape == quantized.shape == (200, 4)
    assert np.abs(native - interpreted(folder / "float.tflite", images / 127.5 - 1)).max() < 1e-5
    assert np.abs(fp - native).max() < 1e-4
    assert (native.argmax(1) == labels).mean() > 0.75
    assert (quantized.argmax(1) == labels).mean() > 0.75
    steps = (quantized - quantized.min()) / np.diff(np.unique(quantized)).min()
    # On a grid of 8 bits
    assert len(np.unique(quantized)) <= 256 and np.abs(steps - steps.round()).max() < 0.02

    assert {"net/conv1", "net/dw1", "net/fc1", "net/avgpool1", "net/ew_add1", "net/ew_mult1"} <= set(noise)
    assert noise["net/fc1"] == pytest.approx(
        10 * np.log10((fp**2).sum() / ((fp - quantized) ** 2).sum()), abs=0.01
    )

    data = (folder / "model.hef").read_bytes()
    magic, version, size, _ = struct.unpack_from(">IIII", data)
    assert (magic, version, size, len(data)) == (0x01484546, 0, len(data) - 32, len(data))
    assert data[16:32] == hashlib.md5(data[32:]).digest()
    hef = read_hef(folder / "model.hef")
    (stream,), (output,) = hef.groups[0].inputs, hef.groups[0].outputs
    assert (hef.architecture, hef.sdk_version, hef.groups[0].name) == ("HAILO8L", "3.33.0", "net")
    assert (stream.name, stream.shape, stream.qp_scale, stream.qp_zp, stream.limits) == (
        "net/input_layer1",
        (16, 16, 3),
        1,
        0,
        (0, 255),
    )
    assert stream.normalised_on_chip and (output.name, output.shape) == ("net/fc1", (4,))
    # The 64 that it calibrates on
    assert output.qp_scale == pytest.approx(float(fp[:64].max() - fp[:64].min()) / 255, rel=1e-3)


def interpreted(path, images):
    import tensorflow as tf

    interpreter = tf.lite.Interpreter(str(path))
    interpreter.allocate_tensors()
    answers = []
    for image in images.astype(np.float32):
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image[None])
        interpreter.invoke()
        answers.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0])
    return np.stack(answers)


def test_layers(sdk):
    hn, scripted = sdk("""
        runner = parsed()
        before = runner.get_hn_dict()
        runner.load_model_script(SCRIPT)
        runner.optimize_full_precision()
        answer([before, runner.get_hn_dict()])
    """)
    layers = hn["layers"]
    edges = {name: (layer["type"], layer["output"]) for name, layer in layers.items()}
    assert hn["name"] == "net" and edges == {
        "net/input_layer1": ("input_layer", ["net/conv1"]),
        "net/conv1": ("conv", ["net/avgpool1", "net/ew_mult1"]),
        "net/avgpool1": ("avgpool", ["net/conv2"]),
        "net/conv2": ("conv", ["net/ew_mult1"]),
        "net/ew_mult1": ("ew_mult", ["net/dw1", "net/ew_add1"]),
        "net/dw1": ("dw", ["net/ew_add1"]),
        "net/ew_add1": ("ew_add", ["net/avgpool2"]),
        "net/avgpool2": ("avgpool", ["net/fc1"]),
        "net/fc1": ("dense", ["net/output_layer1"]),
        "net/output_layer1": ("output_layer", []),
    }
    for name, layer in layers.items():
        assert all(name in layers[after]["input"] for after in layer["output"])
    assert layers["net/input_layer1"]["output_shapes"] == [[-1, 16, 16, 3]]
    assert layers["net/conv1"]["input_shapes"] == [[-1, 16, 16, 3]] and layers["net/conv1"][
        "output_shapes"
    ] == [[-1, 8, 8, 12]]
    assert layers["net/avgpool2"]["output_shapes"] == [[-1, 1, 1, 12]] and layers["net/fc1"][
        "output_shapes"
    ] == [[-1, 1, 1, 4]]
    assert [part in "".join(layers["net/conv1"]["original_names"]) for part in ("stem", "mul")] == [
        True,
        True,
    ]  # with its h-swish
    added = scripted["layers"]["net/normalization1"]
    assert (added["type"], added["input"], added["output"]) == (
        "normalization",
        ["net/input_layer1"],
        ["net/conv1"],
    )
    assert scripted["layers"]["net/conv1"]["input"] == ["net/normalization1"]


def test_a_constant_factor_is_a_normalization_layer(sdk):
    factor, clash, places = sdk("""
        answer([parsed("factor.tflite").get_hn_dict()["layers"],
                raised(parsed("factor.tflite").load_model_script, SCRIPT), raised(parsed, "places.tflite")])
    """)
    made = factor["net/normalization1"]
    assert (made["type"], made["input"], made["output"]) == (
        "normalization",
        ["net/fc1"],
        ["net/output_layer1"],
    )
    assert made["original_names"] and "net/ew_mult2" not in factor
    # The script's own result has that name, too
    assert clash[0] == "BackendValueError" and "normalization1 exists already" in clash[1]
    assert places == ["UnsupportedModelError", "ew_mult1 expects 2 inputs but found 1"]


def test_domains(sdk):
    """The native network takes [-1, 1]; the others what the script is for, and what it is calibrated on."""
    good, bad = sdk("""
        runner, bare = optimized(), optimized(script="", calibration=scaled)
        answer([
            [accuracy(*case) for case in [
                (runner, NATIVE, scaled), (runner, FP, images), (runner, QUANTIZED, images), (bare, FP, scaled), (bare, QUANTIZED, scaled),
            ]],
            [accuracy(*case) for case in [(runner, NATIVE, images), (runner, FP, scaled), (runner, QUANTIZED, scaled), (bare, FP, images)]],
        ])
    """)
    assert min(good) > 0.75 and max(bad) < 0.6


def test_wrong_calibration_hurts(sdk):
    """What lies outside the range that calibration saw is cut off.

    By default it sees the first 64 pictures only.
    """
    sizes, seen, cut, whole, agreement = sdk("""
        exact = infer(parsed(), NATIVE, scaled)
        grey = np.full_like(images[:64], 128)
        sets = [grey.repeat(2, 0), np.concatenate([grey, images])]  # the pictures in the second come too late
        wide = optimized(SCRIPT + "model_optimization_config(calibration, calibset_size=264)", sets[1])
        narrow = [infer(optimized(calibration=data), QUANTIZED, images) for data in sets]
        ends = lambda array: [float(min(array.min(), 0)), float(max(array.max(), 0))]
        agree = lambda answers: float((answers.argmax(-1) == exact.argmax(-1)).mean())
        answer([
            ends(exact), ends(infer(parsed(), NATIVE, grey / 127.5 - 1)), [ends(answers) for answers in narrow],
            ends(infer(wide, QUANTIZED, images)),
            [agree(infer(wide, QUANTIZED, images)), *map(agree, narrow)],
        ])
    """)
    step = (seen[1] - seen[0]) / 255
    assert sizes[0] < seen[0] - step or sizes[1] > seen[1] + step  # there is something to cut off
    for low, high in cut:
        assert seen[0] - step <= low and high <= seen[1] + step
    assert whole == pytest.approx(sizes, abs=0.3)
    assert agreement[0] > 0.9 and max(agreement[1:]) < 0.7


def test_states(sdk):
    assert set(sdk("""
        def within(runner, context):
            with runner.infer_context(context):
                pass

        empty, fresh, float_, done = ClientRunner(hw_arch="hailo8"), parsed(), parsed(), optimized()
        float_.optimize_full_precision()
        with done.infer_context(FP) as closed:
            pass
        answer([raised(*case)[0] for case in [
            (empty.load_model_script, SCRIPT), (empty.optimize, images), (empty.optimize_full_precision, images), (empty.compile,),
            (empty.save_har, "no.har"), (empty.get_hn_dict,), (empty.get_params,), (within, empty, NATIVE),
            (fresh.translate_tf_model, "float.tflite", "net"), (fresh.compile,), (fresh.analyze_noise, images), (within, fresh, FP),
            (within, fresh, QUANTIZED), (float_.compile,), (within, float_, QUANTIZED), (done.optimize, images),
        ]])
    """)) == {"InvalidStateException"}  # fmt: skip
    closed, allowed = sdk("""
        float_, done = parsed(), optimized()
        float_.optimize_full_precision(calib_data=images)
        with done.infer_context(FP) as handle:
            pass
        done.compile()
        answer([
            [raised(done.infer, handle, images), raised(done.infer, FP, images)],
            [infer(*c).shape for c in [(float_, NATIVE, scaled), (float_, FP, images), (done, FP, images), (done, QUANTIZED, images)]],
        ])
    """)
    assert [name for name, _ in closed] == ["BackendValueError"] * 2 and allowed == [[200, 4]] * 4


def test_signatures(sdk):
    assert set(sdk("""
        runner, done = parsed(), optimized()
        answer([raised(call, *arguments, **options)[0] for call, arguments, options in [
            (ClientRunner, [], {"arch": "hailo8"}),
            (ClientRunner("hailo8").translate_tf_model, [], {"model_path": "float.tflite", "net_name": "net"}),
            (ClientRunner("hailo8").translate_tf_model, ["float.tflite", "net", ["x"]], {}),
            (runner.optimize, [images], {"batch_size": 8}),
            (runner.optimize, [images], {"optimization_level": 2}),
            (runner.optimize, [images, "auto", "work"], {}),
            (runner.load_model_script, [SCRIPT], {"add": True}),
            (done.compile, ["model.hef"], {}),
            (done.analyze_noise, [images], {"mode": "simple"}),
        ]])
    """)) == {"TypeError"}  # fmt: skip
    assert sdk("""
        names = []
        for name in ("hailo8", "hailo8l", "hailo8r", "hailo9"):
            names.append(raised(ClientRunner, hw_arch=name)[0])
        answer(names)
    """) == ["", "", "", "BackendValueError"]


def test_what_the_parser_takes(sdk):
    cases = sdk("""
        open("text.tflite", "w").write("no network at all")
        argmax = raised(parsed, "argmax.tflite")
        ends = argmax[1].split("using these end node names: ")[1].split(", ")
        answer({
            "int8": raised(parsed, "int8.tflite"), "pair": raised(parsed, "pair.tflite"), "dynamic": raised(parsed, "dynamic.tflite"),
            "text": raised(parsed, "text.tflite"), "argmax": argmax, "end": raised(parsed, end_node_names=["logitz"]),
            "start": raised(parsed, start_node_names=["imagine"]),
            "ends": [len(ends), float(abs(infer(parsed("argmax.tflite", end_node_names=ends), NATIVE, scaled)
                - infer(parsed(), NATIVE, scaled)).max())],
            "fixed": infer(parsed("dynamic.tflite", tensor_shapes={"image": [1, 16, 16, 3]}), NATIVE, scaled).shape,
        })
    """)
    kinds = {name: case[0] for name, case in cases.items()}
    assert [kinds[name] for name in ("int8", "pair", "dynamic", "text")] == ["UnsupportedModelError"] * 4
    assert "quantized" in cases["int8"][1] and "batch of 1" in cases["pair"][1]
    assert kinds["argmax"] == "ParsingWithRecommendationException" and "ARG_MAX" in cases["argmax"][1]
    assert kinds["end"] == kinds["start"] == "MisspellNodeError" and "logitz" in cases["end"][1]
    assert cases["ends"] == [1, 0] and cases["fixed"] == [200, 4]
    first, second = sdk(
        """
        first = raised(parsed)
        ends = first[1].split("using these end node names: ")[1].split(", ")
        answer([first[0], accuracy(parsed(end_node_names=ends), NATIVE, scaled)])
    """,
        parse="recommend",
    )
    assert first == "ParsingWithRecommendationException" and second > 0.75


REFUSED = {
    "# a comment\n" + SCRIPT: "'#'",
    SCRIPT + "set_seed(seed=5)  # why\n": "'#'",
    SCRIPT
    + "quantisation_param(conv1, precision_mode=a16_w16)": "line 2: unknown command quantisation_param",
    "change_output_activation(linear)": "unknown command",
    SCRIPT + SCRIPT: "line 2: one normalization",
    "normalization([127.5, 127.5, 127.5], [127.5, 127.5, 127.5])": "0 results",
    "a = normalization([127.5], [127.5])": "3 channels",
    "a = normalization([1, 1, 1], [1, 1, 1], conv1)": "input layer",
    "a = normalization([1, 1, 1], [1, 1, 1]": "line 1",
    "model_optimization_flavor(optimization_level=5)": "5 is none of",
    "model_optimization_flavor(level=2)": "unknown key level",
    "model_optimization_flavor(2)": "arguments",
    "model_optimization_config(calibraton, calibset_size=64)": "unknown command",
    "model_optimization_config(calibration, calib_size=64)": "unknown key calib_size",
    "quantization_param(conv9, precision_mode=a16_w16)": "conv9 doesn't exist",
    "quantization_param(other/conv1, precision_mode=a16_w16)": "other/conv1 doesn't exist",
    'quantization_param("conv1", precision_mode=a16_w16)': "'conv1' is not a layer name",
    'quantization_param(["stem"], precision_mode=a16_w16)': "'stem' is not a layer name",
    "quantization_param({deconv*}, precision_mode=a16_w16)": "doesn't exist",
    "quantization_param(conv1, precision_mode=a16_w8)": "a16_w8 is none of",
    "quantization_param(conv1)": "None is none of",
    "post_quantization_optimization(finetune, policy=enabled, loss_layer_names=[fc2])": "fc2 doesn't exist",
    "context_0.place(0, [conv1])": "not a command",
}
TAKEN = """\
normalization1 = normalization([123.7, 116.3, 103.5],
    [58.4, 57.1, 57.4], net/input_layer1)
model_optimization_flavor(optimization_level=-100, compression_level=0, batch_size=4)
model_optimization_config(calibration, batch_size=8, calibset_size=100)

model_optimization_config(compression_params, auto_4bit_weights_ratio=0.0)
pre_quantization_optimization(equalization, policy=disabled)
pre_quantization_optimization(global_avgpool_reduction, layers=[avgpool1, net/avgpool2], division_factors=[2, 2])
post_quantization_optimization(finetune, policy=enabled, learning_rate=1e-4, epochs=8, loss_layer_names=[fc1])
quantization_param([conv1, net/dw1], precision_mode=a16_w16)
quantization_param({conv*}, precision_mode=a8_w4)
performance_param(compiler_optimization_level=max)
resources_param(max_control_utilization=0.8)
context_switch_param(mode=enabled)
set_seed(seed=3)
"""


def test_model_scripts(sdk, folder):
    (folder / "taken.alls").write_text(TAKEN)
    code = """
        runner = parsed()
        runner.load_model_script("taken.alls")
        refused = [raised(runner.load_model_script, text) for text in CASES]
        missing = raised(runner.load_model_script, "missing.alls")
        runner.load_model_script(SCRIPT)
        twice = raised(runner.load_model_script, SCRIPT, append=True)
        runner.load_model_script("model_optimization_config(calibration, calibset_size=100)", append=True)
        runner.optimize(images)
        answer([refused, missing[0], twice[0], accuracy(runner, QUANTIZED, images)])
    """
    refused, missing, twice, both = sdk(code.replace("CASES", repr(list(REFUSED))))
    for text, expected, (kind, message) in zip(REFUSED, REFUSED.values(), refused, strict=True):
        assert (kind, expected in message) == ("BackendValueError", True), (text, message)
    assert missing == "FileNotFoundError" and twice == "BackendValueError" and both > 0.75


def test_precision(sdk):
    plain, fine, coarse, compressed, kernel = sdk("""
        plain = optimized()
        answer([
            worst(plain),
            worst(optimized(SCRIPT + "quantization_param({*}, precision_mode=a16_w16)")),
            worst(optimized(SCRIPT + "quantization_param([conv1, fc1], precision_mode=a8_w4)")),
            worst(optimized(SCRIPT + "model_optimization_flavor(compression_level=5)", np.tile(images, (6, 1, 1, 1)))),
            plain.get_params()["net/conv1/kernel:0"].tolist(),
        ])
    """)
    assert fine > plain + 30  # 8 bits more are 48 dB
    assert max(coarse, compressed) < plain - 6  # 4 bits less of the kernels alone are 24 dB of their share
    kernel = np.array(kernel)
    levels = kernel * 127 / np.abs(kernel).max((1, 2, 3), keepdims=True)
    assert np.abs(levels - levels.round()).max() < 1e-3 and len(np.unique(levels.round())) > 20


def test_calibration_data(sdk):
    shapes, others, same = sdk("""
        shapes = [images[0], images[:, :8], images[..., :1], images.transpose(0, 3, 1, 2), images[:0]]
        runner = optimized()
        forms = ["images.npy", {"net/input_layer1": images}]
        answers = [infer(optimized(calibration=form), QUANTIZED, images) for form in forms]
        answer([
            [raised(optimized, SCRIPT, data)[0] for data in shapes] + [raised(infer, runner, NATIVE, scaled[:, :8])[0]],
            [raised(optimized, SCRIPT, data)[0] for data in [{"input_layer1": images}, images.tolist()]],
            [bool((infer(runner, QUANTIZED, images) == other).all()) for other in answers],
        ])
    """)
    assert set(shapes) == {"BadInputsShape"} and set(others) == {"BackendValueError"} and same == [True, True]


def test_har_is_the_described_tar(sdk, folder):
    sdk("""
        runner = parsed()
        runner.save_har("a.har")
        runner.load_model_script(SCRIPT)
        runner.optimize(images)
        runner.save_har("b.har")
        answer(0)
    """)
    members = {}
    for name in "ab":
        with tarfile.open(folder / f"{name}.har") as archive:
            members[name] = {member.name: archive.extractfile(member).read() for member in archive}
    assert {"net.metadata.json", "net.hn", "net.native.hn", "net.npz"} <= set(members["a"])
    assert {"net.fp.hn", "net.fpo.npz", "net.q.npz"} <= set(members["b"]) - set(members["a"])
    about = [json.loads(members[name]["net.metadata.json"]) for name in "ab"]
    assert [(one["state"], one["sdk_version"]) for one in about] == [
        ("hailo_model", "3.33.0"),
        ("quantized_model", "3.33.0"),
    ]
    assert "net/conv1" in json.loads(members["a"]["net.hn"])["layers"]
    assert "net/normalization1" in json.loads(members["b"]["net.hn"])["layers"]
    assert "net/normalization1" not in json.loads(members["b"]["net.native.hn"])["layers"]


def test_log(run):
    result = run(
        """
        import contextlib, io
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            optimized(calibration=np.tile(images, (6, 1, 1, 1))).compile()  # 1200 pictures
    """,
        downgrade=True,
    )
    # The handler keeps the old stream
    assert f"[warning] {DOWNGRADE}\n" in result.stderr and "[info] " in result.stderr
    # C writes past Python, print does not
    assert "[info] Searching" in result.stdout and "Translation started" not in result.stdout
    few = run("optimized()").stderr
    assert "level to 1" in few and "less data than the recommended amount (1024)" in few and "GPU" not in few
    plenty = run("optimized(calibration=np.tile(images, (6, 1, 1, 1)))\nprint('printed')")
    assert (
        "Reducing" not in plenty.stderr
        and "printed" in plenty.stdout
        and "Translation started" in plenty.stdout
    )
    assert (
        "Reducing"
        not in run(
            "optimized(SCRIPT + 'model_optimization_flavor(optimization_level=0)')", downgrade=True
        ).stderr
    )


def test_ordered_faults(sdk, run, folder):
    native = "np.save(NAME, infer(parsed(), NATIVE, scaled)); answer(accuracy(parsed(), NATIVE, scaled))"
    right = sdk(native.replace("NAME", "'right.npy'"))
    assert sdk(native.replace("NAME", "'wrong.npy'"), parse_wrong=True) > 0.3
    difference = np.abs(np.load(folder / "right.npy") - np.load(folder / "wrong.npy"))
    assert right > 0.75 and difference.max() > 0.05

    assert sdk("answer(worst(optimized()))", compression4=True) < sdk("answer(worst(optimized()))") - 6
    assert "Assigning 4bit weights to layer net/conv1" in run("optimized()", compression4=True).stderr
    nans = (
        "r = optimized(); answer([bool(np.isnan(infer(r, QUANTIZED, images)).all()), "
        "bool(np.isfinite(infer(r, FP, images)).all())])"
    )
    assert sdk(nans, nan=True) == [True, True]

    shapes = "r = optimized(); answer([infer(r, c, images[:3]).shape for c in (NATIVE, FP, QUANTIZED)])"
    assert (sdk(shapes, rank=4), sdk(shapes, rank=2)) == ([[3, 1, 1, 4]] * 3, [[3, 4]] * 3)
    assert sdk("answer([raised(optimized)[0], parsed().state.name])", bad_shape=True) == [
        "BadInputsShape",
        "HAILO_MODEL",
    ]
    assert sdk("answer(raised(optimized().compile)[0])", allocator="fail") == "BackendAllocatorException"
    texts = sdk(
        "answer([type(parsed().get_hn()).__name__, hailo_sdk_client.__version__])",
        hn_as_string=True,
        version="3.30.0",
    )
    assert texts == ["str", "3.30.0"]
    run(
        "open('faulty.hef', 'wb').write(optimized().compile())",
        no_normalization_in_hef=True,
        wrong_arch_in_hef=True,
    )
    hef = read_hef(folder / "faulty.hef")
    source = hef.groups[0].inputs[0]
    assert hef.architecture != "HAILO8" and (source.takes_bytes, source.normalised_on_chip) == (True, False)
    run("open('faulty.hef', 'wb').write(optimized().compile())", no_bytes_in_hef=True)
    assert read_hef(folder / "faulty.hef").groups[0].inputs[0].takes_bytes is False
    clash = "answer(raised(parsed().load_model_script, SCRIPT.replace('normalization1', 'conv1')))"
    name, text = sdk(clash)
    assert name == "BackendValueError" and "layer conv1 exists already" in text

    result = run("", faulty=True)
    assert result.returncode == 1 and "ValueError" in result.stderr and "no switch faulty" in result.stderr
    assert "no switch rank = 3" in run("", rank=3).stderr


@pytest.mark.parametrize(
    "switches, left",
    [
        ({"kill_after": "parse"}, ["1.har"]),
        ({"kill_before": "optimize"}, ["1.har"]),
        ({"kill_after": "optimize"}, ["1.har", "2.har"]),
        ({"kill_before": "compile"}, ["1.har", "2.har"]),
    ],
)
def test_kills(run, sdk, folder, switches, left):
    for name in ("1.har", "2.har"):
        (folder / name).unlink(missing_ok=True)
    result = run(
        """
        parsed().save_har("1.har")
        runner = ClientRunner(har="1.har")
        runner.optimize(images)
        runner.save_har("2.har")
        ClientRunner(har="2.har").compile()
    """,
        **switches,
    )
    assert result.returncode == -signal.SIGKILL
    assert sorted(path.name for path in folder.glob("?.har") if path.stem in "12") == left
    assert sdk(f"answer(ClientRunner(har={left[-1]!r}).state.name)") == (
        "HAILO_MODEL" if left == ["1.har"] else "QUANTIZED_MODEL"
    )


def test_must_be_imported_before_tensorflow(folder):
    code = (
        "import sys, types; sys.modules['tensorflow'] = types.ModuleType('tensorflow'); import "
        "hailo_sdk_client"
    )
    path = {"PYTHONPATH": str(ROOT / "doubles" / "sdk")}
    result = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | path, capture_output=True, text=True
    )
    assert (
        result.returncode == 1
        and "ImportError: hailo_sdk_client must be imported before tensorflow" in result.stderr
    )
