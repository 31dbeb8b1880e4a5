"""The tool that chooses 16-bit layers, on a network of which one layer is known to be bad."""

import numpy as np
import pytest
from handmade import SPEC, write_bundle

from fer_hailo.common.metrics import softmax
from fer_hailo.deploy.bundle import load_bundle
from fer_hailo.script.text import parse_script
from tools import choose_16bit


@pytest.fixture(scope="module")
def chooser(tmp_path_factory):
    """Of the handmade network, with a range of the depthwise layer that leaves it few steps."""
    bundle = load_bundle(write_bundle(tmp_path_factory.mktemp("choose") / "deploy"))
    made = choose_16bit.Chooser(
        bundle, (bundle.folder / "model.alls").read_text(), "a16_w16", bundle.evaluation(), 60
    )
    made.scheme.ranges["depth"].span(0, 200 * made.scheme.ranges["depth"].high)
    return made


def test_own_noise_is_of_the_layer_alone(chooser):
    noise = chooser.own_noise()
    assert next(iter(noise)) == "depth" and set(noise) == {
        "stem",
        "pool",
        "gate",
        "scale",
        "depth",
        "sum",
        "head_pool",
        "logits",
    }
    exact, network = chooser.emulation.exact, chooser.network(())
    values: dict[str, np.ndarray] = {}
    exact.run((chooser.images.images[:32].astype(np.float32) - 127.5) / 127.5, values.__setitem__)
    step = network.grids["depth"].scale  # so coarse that all else is nothing beside it
    rounded = np.floor(values["depth"] / step + 0.5) * step
    assert noise["depth"] == pytest.approx(
        10 * np.log10(values["depth"].var() / ((rounded - values["depth"]) ** 2).mean()), abs=0.5
    )


def test_what_each_layer_costs(chooser):
    costs = chooser.costs(list(chooser.own_noise()), 40)
    assert next(iter(costs)) == "depth" and list(costs.values()) == sorted(costs.values(), reverse=True)
    names = tuple(
        operation.name for operation in chooser.emulation.exact.graph.operations if operation.name != "depth"
    )
    assert costs["depth"] == chooser.score(names, chooser.few.quick(40))[0] > 10 * costs["gate"]


def test_the_bad_layer_comes_first_and_more_of_them_do_not_harm(chooser):
    sets = chooser.choose(list(chooser.own_noise())[:4], 3)
    assert (
        sets[0] == ()
        and sets[1] == ("depth", "sum")
        and all(set(a) < set(b) for a, b in zip(sets, sets[1:], strict=False))
    )
    scores = [chooser.score(names, chooser.few)[0] for names in sets]
    assert scores[1] < 0.3 * scores[0] and scores == sorted(scores, reverse=True)
    assert chooser.readers()["stem"] == ("pool", "scale") and chooser.readers()["depth"] == ("sum",)
    answers = softmax(chooser.network(sets[0]).logits(chooser.few.images, SPEC))
    assert chooser.score((), chooser.few)[1] == (answers.argmax(axis=1) == chooser.few.labels).mean()


def test_the_command_prints_a_line_for_the_script(tmp_path, capsys):
    folder = write_bundle(tmp_path / "deploy")
    choose_16bit.main([str(folder), "--count", "60", "--trial", "30", "--candidates", "3", "--most", "1"])
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("| layer alone in 8 bit") and len(said) >= 9
    assert said[7].startswith("| float | 0 | ") and said[8].startswith("| nothing | 0.0")
    if said[-1].startswith("quantization_param"):
        (statement,), findings = parse_script(said[-1])
        assert statement.get("precision_mode").value == "a16_w16" and not findings
