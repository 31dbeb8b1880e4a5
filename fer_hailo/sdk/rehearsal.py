"""Everything about a compilation that can be found out without the SDK."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fer_hailo.common.errors import UserError
from fer_hailo.common.metrics import Scores, Splits
from fer_hailo.common.preprocess import normalise
from fer_hailo.common.progress import track
from fer_hailo.deploy.bundle import FLOAT, INT8, Bundle, EvalSet
from fer_hailo.deploy.scoring import logits_of, score
from fer_hailo.emulation.noise import Noise
from fer_hailo.emulation.stages import Emulation, EmulationFacts, emulation_of
from fer_hailo.formats.tflite import Layer, single
from fer_hailo.predict.litert import LiteRT
from fer_hailo.sdk.client import TOPS

NOISE_PICTURES = 64
# Hailo's own diagnostic tool calls normalised inputs outside of these suspicious.
MEAN_LIMITS, DEVIATION_LIMITS = (-2, 5), (0.1, 5)
FULL_OPTIMIZATION = 1024  # images below which the SDK lowers its optimization level
MOST_CLIPPED = 0.2


@dataclass(frozen=True)
class CalibrationFacts:
    """Of a calibration set: images in all and by class; copies of others; the part of the values that are 0
    or 255; mean and deviation of each channel, normalised.
    """

    count: int
    per_class: dict[str, int]
    duplicates: int
    clipped: float
    mean: list[float]
    deviation: list[float]


@dataclass(frozen=True)
class SpeedBound:
    """Work of one image against the chip's peak. most_frames_per_second: an upper bound that real networks
    stay far below; None where the network has no multiply-adds.
    """

    tops: float
    parameters: int
    multiply_adds: int
    most_frames_per_second: float | None
    layers: tuple[Layer, ...]

    def to_dict(self) -> dict[str, Any]:
        told = ("name", "operator", "parameters", "multiply_adds")
        return vars(self) | {
            "layers": [{name: getattr(layer, name) for name in told} for layer in self.layers]
        }


@dataclass(frozen=True)
class Rehearsal:
    """noise: layer to dB. emulation: None where the network is not emulated. warnings: sentences."""

    metrics: Scores
    noise: dict[str, float]
    emulation: EmulationFacts | None
    calibration: CalibrationFacts
    speed: SpeedBound
    warnings: list[str]


def rehearse(
    bundle: Bundle, hw_arch: str, pictures: EvalSet, digests: dict[str, str], script: str
) -> Rehearsal:
    """Score the bundle's TFLite files and the emulation of the model script, rank layers by noise, look at
    the calibration set, bound the speed. Writes nothing. script: its text.
    """
    warnings = [layer.doubt for layer in bundle.network.unexpected()]
    files = [bundle.folder / FLOAT, *([bundle.int8] if bundle.int8 else [])]
    networks: dict[str, Any] = {
        network.stage: network for network in map(LiteRT, files)
    }  # first: is it there?
    emulation = None
    try:
        emulation = emulation_of(bundle, script)
    except UserError as error:
        judged = "the verdict is by the INT8 TFLite" if bundle.int8 else "what 8 bits lose is not known"
        warnings.append(f"no integer emulation of this network: {error}; {judged}")
    if INT8 in bundle.manifest.without:
        warnings.append(f"there is no {INT8} ({bundle.manifest.without[INT8]}): it is not scored")
    networks |= emulation.networks if emulation else {}
    metrics = {
        stage: _scored(bundle, network, pictures, digests, stage) for stage, network in networks.items()
    }
    (calibration, doubts), noise = calibration_facts(bundle), _noise(bundle, emulation)
    warnings += doubts
    return Rehearsal(
        metrics,
        noise,
        emulation.facts() if emulation else None,
        calibration,
        speed_bound(bundle, hw_arch),
        warnings,
    )


def _scored(bundle: Bundle, network, pictures: EvalSet, digests: dict[str, str], stage: str) -> Splits:
    """Metrics for each split. network: has logits(images, spec)."""
    logits = logits_of(
        lambda images: network.logits(images, bundle.spec),
        pictures.images,
        len(bundle.labels),
        f"scoring {stage}",
    )
    return score(
        logits, pictures, bundle.labels, data=bundle.manifest.data.name, digests=digests, stage=stage
    )


def _noise(bundle: Bundle, emulation: Emulation | None) -> dict[str, float]:
    """Of the layers as the script has them; where nothing is emulated, of the INT8 TFLite."""
    images = bundle.calibration()[:NOISE_PICTURES]
    if emulation:
        return emulation.noise(images, bundle.spec)
    return layer_noise(bundle, images) if bundle.int8 else {}


def layer_noise(bundle: Bundle, images: np.ndarray) -> dict[str, float]:
    """Signal-to-noise ratio of each tensor of the INT8 network against the float one, dB, the worst first.

    What holds six times its value in the INT8 network, as a written out h-swish, is divided by six first.
    images: uint8 (N, I, I, 3).
    """
    float32, int8 = (LiteRT(bundle.folder / name, keep_tensors=True) for name in (FLOAT, INT8))
    noise = Noise()
    for image in track(images, len(images), "measuring noise"):
        exact, rounded = float32.tensors(image, bundle.spec), int8.tensors(image, bundle.spec)
        for held, values in rounded.items():
            name, factor = (held, 1) if held in exact else single(held)
            if name in exact:
                noise.add(name, exact[name], values / factor)
    return noise.ratios()


def calibration_facts(bundle: Bundle) -> tuple[CalibrationFacts, list[str]]:
    """What the calibration set is like, and warnings: sentences."""
    images, spec = bundle.calibration(), bundle.spec
    levels = np.stack(
        [np.bincount(images[..., channel].ravel(), minlength=256) for channel in range(3)]
    ).astype(np.float64)
    values = normalise(np.arange(256, dtype=np.uint8), spec).astype(np.float64)
    shares = levels / levels.sum(axis=1, keepdims=True)
    mean = shares @ values
    deviation = np.sqrt(np.maximum(shares @ values**2 - mean**2, 0))
    duplicates = len(images) - len({image.tobytes() for image in images})
    clipped = float(shares[:, [0, 255]].sum() / 3)
    classes = bundle.manifest.calibration.per_class
    warnings = []
    if len(images) < FULL_OPTIMIZATION:
        warnings.append(
            f"{len(images)} calibration images: with fewer than {FULL_OPTIMIZATION} the SDK lowers its "
            "optimization level"
        )
    if duplicates:
        warnings.append(f"{duplicates} calibration images are copies of others")
    if min(classes) < max(classes) / 2:
        warnings.append(
            f"the classes of the calibration set are not balanced: {', '.join(map(str, classes))} images"
        )
    if clipped > MOST_CLIPPED:
        warnings.append(f"{clipped:.0%} of the calibration values are 0 or 255: over- or underexposed images")
    for name, number, (low, high) in (
        ("mean", mean, MEAN_LIMITS),
        ("deviation", deviation, DEVIATION_LIMITS),
    ):
        if not ((number > low) & (number < high)).all():
            warnings.append(
                f"after normalisation the calibration set has a {name} of {number.round(2).tolist()}, "
                f"outside of {low} to {high}"
            )
    by_class = dict(zip(bundle.labels, classes, strict=True))
    moments = mean.round(4).tolist(), deviation.round(4).tolist()
    return CalibrationFacts(len(images), by_class, duplicates, clipped, *moments), warnings


def speed_bound(bundle: Bundle, hw_arch: str) -> SpeedBound:
    """Multiply-adds an image against the chip's peak: an upper bound of frames/s that real networks stay far
    below.

    One multiply-add is two operations; TOPS are 10^12 operations a second.
    """
    network = bundle.network
    most = TOPS[hw_arch] * 1e12 / 2 / network.multiply_adds if network.multiply_adds else None
    return SpeedBound(TOPS[hw_arch], network.parameters, network.multiply_adds, most, network.layers)
