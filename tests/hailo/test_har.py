"""The HAR reader: two real files of DFC 3.33, what only a handmade one has, and damage."""

import io
import json
import tarfile
import tracemalloc

import numpy as np
import pytest

from fer_hailo.common.errors import UserError
from fer_hailo.formats.har import format_har, read_har

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
    del members["net.stats.npz"]  # at a level that measures it, yet without
    write(tmp_path / "m.har", members, mode)
    assert "no layer noise: this HAR holds none" in format_har(read_har(tmp_path / "m.har"))


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


def test_what_the_real_files_say_of_shapes_bits_and_names(shared):
    """Exported from PyTorch by way of ONNX: the names say which module each layer is of."""
    parsed, quantized = (
        read_har(shared / f"data/har/classifier_{name}.har")
        for name in ("24-48-96_parsed", "16-32-64_quantized")
    )
    for har, channels in ((parsed, (24, 48, 96)), (quantized, (16, 32, 64))):
        layers = {layer.name.split("/")[1]: layer for layer in har.layers}
        assert [layers[f"conv{n}"].shape for n in (1, 2, 3)] == [
            (32 >> n, 32 >> n, count) for n, count in enumerate(channels)
        ]
        # A dense layer gives (-1, 1, 1, C)
        assert (layers["fc1"].shape, layers["fc2"].shape) == ((1, 1, 128), (1, 1, 1))
        assert layers["conv2"].original_names == (
            "/base/features/features.4/Conv",
            "/base/features/features.6/Relu",
        )
        assert har.hn["layers"]["jet_classifier/fc2"]["output_shapes"] == [[-1, 1, 1, 1]]
        assert {layer.type for layer in har.layers} - {"activation"} == {
            *("input_layer", "conv", "maxpool", "dense", "output_layer"),
        }
    wide = {layer.name.split("/")[1]: layer.precision for layer in quantized.layers}
    assert (wide.pop("input_layer1"), wide.pop("precision_change0")) == ("a8_w8_a8", "a8_w8_a16")
    assert set(wide.values()) == {"a16_w16_a16"}


def test_names_do_not_steer_a_terminal(tmp_path):
    layers = {
        "net/c\x1b[31m\n": {"type": "conv\u202e", "original_names": ["a\rb", "x" * 5000]},
        "net/" + "y" * 999: {"type": "t"},
    }
    write(tmp_path / "m.har", {"a.hn": json.dumps({"layers": layers}).encode()})
    text = format_har(read_har(tmp_path / "m.har"))
    assert "net/c?[31m?" in text and "conv?" in text and "a?b" in text
    assert len(text.split("\n")) == 4 and all(line.isprintable() for line in text.split("\n"))
    layers = {"net/\x1b[31m\n": 3}
    write(tmp_path / "m.har", {"a.hn": json.dumps({"layers": layers}).encode()})
    with pytest.raises(UserError) as error:
        read_har(tmp_path / "m.har")
    assert "net/?[31m?" in str(error.value) and str(error.value).isprintable()


def test_a_ratio_that_is_no_number_is_none(tmp_path):
    """An exact layer has an infinite one; JSON knows neither that nor NaN."""
    keys = {f"net/{name}/layer_noise_analysis/snr": value for name, value in
            {"conv1": np.nan, "conv2": np.inf, "conv3": 3.5}.items()}  # fmt: skip
    write(tmp_path / "m.har", {"a.hn": json.dumps(HN).encode(), "a.stats.npz": npz(**keys)})
    har = read_har(tmp_path / "m.har")
    assert har.noise == {"net/conv3": 3.5} and json.dumps(har.to_dict(), allow_nan=False)


def test_statistics_that_unpack_to_more_than_fits_are_refused_unread(tmp_path):
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **{"net/conv1/layer_noise_analysis/snr": np.zeros(8 << 20, np.float64)})
    assert len(buffer.getvalue()) < 1 << 17
    write(tmp_path / "m.har", {"a.hn": json.dumps(HN).encode(), "a.stats.npz": buffer.getvalue()})
    tracemalloc.start()
    with pytest.raises(UserError, match=r"cannot be read \(a layer's is too large\)"):
        read_har(tmp_path / "m.har")
    assert tracemalloc.get_traced_memory()[1] < 4 << 20
    tracemalloc.stop()
