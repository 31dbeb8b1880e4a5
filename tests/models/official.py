"""The official networks as numbers: weights by a formula, and what the authors' own code computed with them.

The numbers lie beside each network, in official.json.
"""

import json
import tempfile
from pathlib import Path

import keras
import numpy as np
from conftest import ROOT
from pth import write_pth

from fer_hailo.training.models.state_dict import load_state_dict, load_whole
from fer_hailo.training.models.table import multiply_adds
from fer_hailo.training.networks.blocks import DEVIATION, MEAN

# No layer of ours puts these out: the image before it is halved, queries cut into heads. Shares of attention
# are compared apart.
UNSEEN = (
    "input of ir_back",
    "attn_drop",
    "softmax",
    "input of attn1[1]",
    "input of attn2[1]",
    "input of attn3[1]",
)
# What the official scripts save: the key of the weights, what stands before their names (of
# torch.nn.DataParallel), and what stands beside them
LAYOUTS = {
    "dan": ("model_state_dict", "", {"iter": 21, "optimizer_state_dict": {"lr": 0.1}}),
    "ddamfn": ("model_state_dict", "", {"iter": 9, "optimizer_state_dict": {"lr": 0.1}}),
    "ada_df": ("state_dict", "", {"epoch": 3, "optimizer": {"lr": 0.1}}),
    "poster": ("model_state_dict", "module.", {"iter": 3, "optimizer_state_dict": {"lr": 0.1}}),
    "poster_v2": ("state_dict", "module.", {"epoch": 3, "best_acc": 0.9221, "optimizer": {"lr": 0.1}}),
}
SHIFT = ((127.5 - MEAN) / 127.5).astype("f4")  # what the first layer of each adds


def specification(name: str) -> dict:
    path = ROOT / "fer_hailo" / "training" / "networks" / name / "official.json"
    return json.loads(path.read_text(encoding="utf-8"))


def tensors(spec: dict) -> dict[str, np.ndarray]:
    """All tensors of the official state dict, float32 in PyTorch's layout."""
    return {
        name: _tensor(i, shape, rule, spec["fan_in_scale"])
        for i, (name, shape, rule) in enumerate(spec["keys"])
    }


def _tensor(i: int, shape: list[int], rule: str, scale: float) -> np.ndarray:
    numbers = np.arange(1, np.prod(shape) + 1, dtype=np.float64) * 12.9898
    numbers += (i + 1) * 78.233  # both products are rounded before the sum
    np.sin(numbers, out=numbers)
    numbers *= 43758.5453
    numbers -= np.floor(numbers)
    fan_in = np.prod(shape[1:]) if len(shape) > 1 else 1
    slope, start = {
        "var": (1, 0.5), "mean": (0.2, -0.1), "scale": (0.4, 0.8), "prelu": (0.25, 0), "small": (0.2, -0.1),
        "fan_in": (2 * np.sqrt(3 / fan_in) * scale, -np.sqrt(3 / fan_in) * scale),
    }[rule]  # fmt: skip
    return (numbers * slope + start).astype(np.float32).reshape(shape)


def pictures(spec: dict) -> np.ndarray:
    """The input, float32 (2, I, I, 3)."""
    n, c, h, w = np.ogrid[tuple(slice(size) for size in spec["input_shape"])]
    return np.sin(0.05 * h + 0.07 * w + 1.3 * c + 0.9 * n).astype(np.float32).transpose(0, 2, 3, 1)


def check(name: str, build, after: dict[str, str], thrown_away: int = 0) -> None:
    """A network computes what its authors' code computes: logits and tensors on the way, under the same
    weights.

    build(input_size, logits): the network that trains. after: where a module's output stands in ours, if not
    in the layer of its name; both with dots, which in layers' names are -. thrown_away: multiply-adds of the
    official code of which it uses nothing.
    """
    spec = specification(name)
    given = tensors(spec)
    whole = dict(given)
    for without, counts in spec["aliases"]:
        assert given[without].shape == given.pop(without).shape and counts in given
    model = build(spec["input_shape"][2], 7)
    left, unused = load_state_dict(model, given, {})
    assert left == []  # every layer has its tensors, and every tensor that counts its layer
    statistics = {key for key in unused if ".running_" in key}
    assert set(unused) - statistics == set(spec["unused"])
    assert {key.rpartition(".")[0] + ".weight" for key in statistics} <= set(spec["unused"])
    assert (
        sum(int(np.prod(w.shape)) for w in model.trainable_weights)
        == spec["parameters"] - spec["unused_parameters"]
    )
    assert multiply_adds(model) == spec["macs"]["total"] - thrown_away
    _compare(model, spec, after)
    _compare_shares(model, spec)
    _check_file(name, model, spec, whole)


def official_file(path: Path, name: str, state: dict[str, np.ndarray]) -> None:
    """Write weights, in PyTorch's layout, as the official script of a network saves them."""
    key, start, beside = LAYOUTS[name]
    write_pth(path, beside | {key: {start + each: value for each, value in state.items()}})


def _check_file(name: str, model: keras.Model, spec: dict, whole: dict[str, np.ndarray]) -> None:
    """The official file, opened to be scored, gives the official logits of the images that are the official
    inputs once they are normalised as the official code does.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.pth"
        official_file(path, name, whole)
        load_whole(path, model)
    images = (pictures(spec) * DEVIATION + MEAN) / 127.5 - 1
    given = model(images.astype("f4"), training=False)
    given = np.asarray(given[0] if isinstance(given, list | tuple) else given)
    _close(
        given.ravel(), np.ravel(spec["outputs"]["out_2" if name == "ada_df" else "logits"]["values"]), name
    )


def _compare(model: keras.Model, spec: dict, after: dict[str, str]) -> None:
    noted = spec["taps"] | spec["outputs"]
    places = {tap: after.get(tap, tap).replace(".", "-") for tap in noted if not tap.endswith(UNSEEN)}
    names = sorted(set(places.values()))
    outputs = keras.Model(model.input, [model.get_layer(layer).output for layer in names])(
        pictures(spec) - SHIFT, training=False
    )
    found = {layer: _channels_first(np.asarray(value)) for layer, value in zip(names, outputs, strict=True)}
    for tap, place in places.items():
        wanted = noted[tap]
        value = found[place]
        if value.ndim != len(wanted["shape"]):  # the official code keeps axes of length 1, or lies flat
            value = value.reshape(wanted["shape"])
        elif value.ndim == 4 and list(value.shape) != wanted["shape"]:
            value = value.transpose(0, 2, 3, 1)  # the official code has the channels last here too
        assert list(value.shape) == wanted["shape"], tap
        _close(value.ravel()[:8], wanted["first8"], tap)
        _close(value.ravel()[-8:], wanted["last8"], tap)
        _close([value.mean(), value.std()], [wanted["mean"], wanted["std"]], tap)
        if "values" in wanted:
            _close(value.ravel(), np.ravel(wanted["values"]), tap)
        if "mean_over_hw" in wanted:
            _close(value.mean(axis=(2, 3)).ravel(), np.ravel(wanted["mean_over_hw"]), tap)


def _compare_shares(model: keras.Model, spec: dict) -> None:
    """What attention gives to each token, by which alone a wrong bias or position would show."""
    taps = {
        tap: tap.rpartition(".")[0].replace(".", "-") + "-heads"
        for tap in spec["taps"]
        if tap.endswith(("attn_drop", "softmax"))
    }
    for tap, layer in ((tap, model.get_layer(name)) for tap, name in taps.items()):
        queries, pairs = keras.Model(model.input, layer.input)(pictures(spec) - SHIFT, training=False)
        value, wanted = np.asarray(layer.shares(queries, pairs[..., : queries.shape[-1]])), spec["taps"][tap]
        assert list(value.shape) == wanted["shape"], tap
        _close(
            [*value.ravel()[:8], *value.ravel()[-8:], value.std()],
            [*wanted["first8"], *wanted["last8"], wanted["std"]],
            tap,
        )


def _close(given, wanted, tap: str) -> None:
    error = np.abs(np.asarray(given, np.float64) - wanted).max() / (np.abs(wanted).max() or 1)
    assert error < 1e-4, f"{tap}: {error:.1e}"


def _channels_first(value: np.ndarray) -> np.ndarray:
    return value.transpose(0, 3, 1, 2) if value.ndim == 4 else value
