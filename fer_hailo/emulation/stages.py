"""The stages of a rehearsal that are emulated: plain 8 bit, and with the 16-bit layers that a model script
names.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fer_hailo.common.preprocess import PreprocessSpec, normalise
from fer_hailo.deploy.bundle import FLOAT, Bundle
from fer_hailo.emulation.float_network import FloatNetwork
from fer_hailo.emulation.noise import Noise
from fer_hailo.emulation.precision import Followed, followed
from fer_hailo.emulation.program import IntegerNetwork
from fer_hailo.emulation.scheme import MeasuredScheme, with_activations
from fer_hailo.formats.tflite import Tflite
from fer_hailo.formats.tflite_graph import read_graph
from fer_hailo.script.layers import Layer, Layers

NARROW, WIDE = "emulated-int8", "emulated-a16"


@dataclass(frozen=True)
class EmulationFacts:
    """calibset_size: images that ranges were measured on. wide: 16-bit layers, with their mode. ignored:
    lines of the script.
    """

    calibset_size: int
    bias_correction: bool
    wide: dict[str, str]
    ignored: list[str]


@dataclass(frozen=True)
class Emulation:
    """networks: by stage, the one that the script asks for last. exact: the same in float. followed: what of
    the script they follow.
    """

    exact: FloatNetwork
    networks: dict[str, IntegerNetwork]
    followed: Followed

    def noise(self, images: np.ndarray, spec: PreprocessSpec) -> dict[str, float]:
        """Signal-to-noise ratio of each tensor of the last stage against float, dB, the worst first. images:
        uint8 (N, I, I, 3).
        """
        return noise_of(self.exact, list(self.networks.values())[-1], images, spec)

    def facts(self) -> EmulationFacts:
        """For the report."""
        asked = self.followed
        wide = {name: f"a16_w{asked.precisions[name].weights}" for name in asked.wide}
        return EmulationFacts(asked.calibset_size, asked.bias_correction, wide, asked.ignored)


def emulation_of(bundle: Bundle, script: str) -> Emulation:
    """Ready to score. Measures ranges on the first calibset_size images. Raises UserError where the network
    is not emulated.
    """
    asked, graph = (
        followed(script, tflite_layers(bundle.network, bundle.manifest.arch)),
        read_graph(bundle.folder / FLOAT),
    )
    exact = FloatNetwork(graph)
    ranges = exact.measure(bundle.calibration()[: asked.calibset_size], bundle.spec)
    ranges[graph.input.name].span(*normalise(np.array([0, 255], np.uint8), bundle.spec))
    networks = {NARROW: IntegerNetwork(graph, MeasuredScheme(ranges, {}, asked.bias_correction))}
    if asked.wide:
        precisions = with_activations(graph, asked.precisions)
        networks[WIDE] = IntegerNetwork(graph, MeasuredScheme(ranges, precisions, asked.bias_correction))
    return Emulation(exact, networks, asked)


def tflite_layers(network: Tflite, name: str) -> Layers:
    """The layers of a TFLite as they are known before the parse, each by the name of its tensor."""
    return Layers(
        name, {layer.name: Layer(layer.operator, original_names=(layer.name,)) for layer in network.layers}
    )


def noise_of(
    exact: FloatNetwork, rounded: IntegerNetwork, images: np.ndarray, spec: PreprocessSpec, batch: int = 8
) -> dict[str, float]:
    """Signal-to-noise ratio of each tensor that an operator makes, dB, the worst first. images: uint8 (N, I,
    I, 3).
    """
    noise = Noise()
    for start in range(0, len(images), batch):
        some = images[start : start + batch]
        values: dict[str, np.ndarray] = {}
        exact.run(normalise(some, spec), values.__setitem__)
        del values[exact.graph.input.name]

        def compare(name: str, whole: np.ndarray, values: dict[str, np.ndarray] = values) -> None:
            if name in values:
                noise.add(name, values[name], rounded.grids[name].real(whole))

        rounded.run(rounded.whole(some, spec), compare)
    return noise.ratios()
