"""The HAR reader: two real files of DFC 3.33, what only a handmade one has, and damage."""

import io
import json
import random
import tarfile

import numpy as np
import pytest

from fer_hailo.common.errors import UserError
from fer_hailo.formats.har import Har, format_har, read_har

HN = {
    "name": "net",
    "layers": {
        "net/input_layer1": {
            "type": "input_layer",
            "output_shapes": [[-1, 8, 8, 3]],
            "original_names": ["image"],
        },
        "net/conv1": {"type": "conv", "output_shapes": [[-1, 4, 4, 16]], "original_names": ["conv;act"]},
    },
}


def write(path, members: dict[str, bytes], mode: str = "w") -> None:
    with tarfile.open(path, mode) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


def npz(**arrays) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def test_a_parsed_network_of_the_real_compiler(shared):
    har = read_har(shared / "data/har/classifier_24-48-96_parsed.har")
    about = (har.name, har.state, har.hw_arch, har.sdk_version, har.levels, har.script, har.noise)
    assert about == ("jet_classifier", "hailo_model", "hailo8", "3.33.0", None, "", {})
    # Counted by hand: three convolutions with a pooling each, two dense layers, input and output.
    assert [layer.name.split("/")[1] for layer in har.layers] == [
        "input_layer1", "conv1", "maxpool1", "conv2", "maxpool2", "conv3", "maxpool3", "fc1", "fc2",
        "output_layer1",
    ]  # fmt: skip
    shapes = [layer.shape for layer in har.layers if layer.type == "conv"]
    assert shapes == [(32, 32, 24), (16, 16, 48), (8, 8, 96)]  # the channels of the file's name
    assert {layer.precision for layer in har.layers} == {""}


def test_a_quantized_network_of_the_real_compiler(shared):
    har = read_har(shared / "data/har/classifier_16-32-64_quantized.har")
    assert (har.state, har.levels, har.noise) == ("quantized_model", (0, 0), {})  # level 0 measures no noise
    assert har.script.count("precision_mode=a16_w16") == 8
    made = [layer for layer in har.layers if not layer.original_names]
    assert [(layer.name, layer.precision) for layer in made] == [
        ("jet_classifier/precision_change0", "a8_w8_a16")
    ]
    text = format_har(har)
    assert "optimization level 0, compression level 0, in effect" in text and "no layer noise" in text
    assert json.loads(json.dumps(har.to_dict()))["levels"] == {
        "optimization_level": 0,
        "compression_level": 0,
    }


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_noise_by_layer_from_the_flat_statistics(tmp_path, mode):
    stats = npz(**{
        "params_kind": np.array("statistics"),
        "net/conv1/layer_noise_analysis/snr": np.array([12.5, 7.25], np.float32),
        "net/input_layer1/layer_noise_analysis/snr": np.float64(31),
        "net/conv1/equalization/source": np.zeros(3),
    })  # fmt: skip
    members = {
        "net.hn": json.dumps(HN).encode(), "net.native.hn": b"{", "net.npz": b"not read",
        "net.stats.npz": stats,
        "net.metadata.json": json.dumps({"state": "quantized_model",
        "mo_flavor": {"optimization_level": 2}}).encode(),
    }  # fmt: skip
    write(tmp_path / "m.har", members, mode)
    har = read_har(tmp_path / "m.har")
    assert har.noise == {"net/conv1": 7.25, "net/input_layer1": 31.0}  # the worst of a layer
    assert har.levels == (2, None) and har.hw_arch == "unknown"
    assert "7.2 dB" in format_har(har) and "no layer noise" not in format_har(har)


@pytest.mark.parametrize(
    ("members", "word"),
    [
        ({}, "no HN files"),
        ({"a.hn": b"{}", "b.hn": b"{}"}, "2 HN files"),
        ({"a.hn": b"[1, 2"}, "not JSON"),
        ({"a.hn": b"[" * 100_000}, "not JSON"),
        ({"a.hn": b"[]"}, "no object"),
        ({"a.hn": b'{"layers": {}}'}, "no layers"),
        ({"a.hn": b'{"layers": {"a/b": 3}}'}, "no type"),
        ({"a.hn": json.dumps(HN).encode(), "a.metadata.json": b"3"}, "no object"),
        ({"a.hn": json.dumps(HN).encode(), "a.stats.npz": b"PK\x03\x04 and no more"}, "statistics"),
        (
            {
                "a.hn": json.dumps(HN).encode(),
                "a.stats.npz": npz(**{"c/layer_noise_analysis/snr": np.array("loud")}),
            },
            "statistics",
        ),
        (
            {
                "a.hn": json.dumps(HN).encode(),
                "a.stats.npz": npz(**{"c/layer_noise_analysis/snr": np.zeros(0)}),
            },
            "statistics",
        ),
    ],
)
def test_what_is_no_har_is_one_line(tmp_path, members, word):
    write(tmp_path / "m.har", members)
    with pytest.raises(UserError, match=word) as error:
        read_har(tmp_path / "m.har")
    assert "m.har" in str(error.value) and "\n" not in str(error.value)


def test_a_file_that_is_not_there_or_no_tar(tmp_path):
    with pytest.raises(UserError, match=r"cannot read the HAR .*none.har: No such file"):
        read_har(tmp_path / "none.har")
    (tmp_path / "text.har").write_text("hello")
    with pytest.raises(UserError, match="is not a HAR, or is damaged"):
        read_har(tmp_path / "text.har")


def mutated(whole: bytes, count: int, seed: int):
    """Copies that were cut, or of which up to five bytes changed, most of them where the headers lie."""
    rng = random.Random(seed)
    for _ in range(count):
        data = bytearray(whole)
        if rng.random() < 0.3:
            del data[rng.randrange(len(data)) :]
        for _ in range(rng.randrange(1, 6)):
            if data:
                reach = len(data) if rng.random() < 0.5 else min(len(data), 3000)
                data[rng.randrange(reach)] = rng.randrange(256)
        yield bytes(data)


@pytest.mark.parametrize("name", ["classifier_24-48-96_parsed", "classifier_16-32-64_quantized"])
def test_damaged_files_give_a_har_or_one_line(shared, tmp_path, name):
    whole, path = (shared / f"data/har/{name}.har").read_bytes(), tmp_path / "m.har"
    for data in mutated(whole, 50, seed=3):
        path.write_bytes(data)
        try:
            assert isinstance(read_har(path), Har)
        except UserError as error:
            assert "\n" not in str(error) and "m.har" in str(error)
