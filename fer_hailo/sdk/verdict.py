"""What the accuracies before and after each step say: where accuracy was lost, and what to do about it."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fer_hailo.common.metrics import Scores
from fer_hailo.common.results import FLOAT_STEM

ADVICE = {
    "parse": "the parsed float network does not give what the TFLite gives: a fault of the parse. Compare "
    "the layers of model.har (Netron opens it) with conversion.html, see by --rehearse whether the TFLite "
    "itself is right, and try another version of the Dataflow Compiler",
    "script": "accuracy is lost in float, with the model script alone: a fault of the script. Look at its "
    "normalization, input_conversion, "
    "resize and change_output_activation first",
    "quantization": "accuracy is lost by the numbers of 8 bits. Look at the layers with the lowest "
    "signal-to-noise ratio; then try the "
    "16-bit layers of alls/NETWORK_a16.alls (--layers), a "
    "higher optimization_level on a machine with a GPU, and the ranges in conversion.html",
}


OUTPUT = "output_layer"  # what the HN calls the layers of outputs
BAD_SNR = 10.0  # dB; at or below it an output is mostly noise, by the compiler's own guide
TRY = (
    "try --layers alls/negative_exponent.alls, or 16 bits there (--layers alls/NETWORK_a16.alls, or a line "
    "of your own)"
)
SIMPLER_TRY = ", or a network without h-swish and gates (mobilenet_v3_small_minimalistic)"
# What is judged: the first of them that there is
LAST = ("har-int8", "emulated-a16", "emulated-int8", "tflite-int8", FLOAT_STEM)
SAME = 0.99  # part of the predictions in which the parsed float network must agree with the TFLite


@dataclass(frozen=True)
class Verdict:
    """lost: points of accuracy from float to INT8, None where it is not known yet; allowed: of them. causes:
    names in ADVICE. concerns: what else the SDK said of layers whose numbers are bad, a sentence each.

    selected_by: the validated run that it was judged by; empty where the network has a validation side of its
    own.
    """

    lost: float | None
    allowed: float
    causes: tuple[str, ...]
    concerns: tuple[str, ...] = ()
    selected_by: str = ""

    @property
    def failed(self) -> bool:
        return bool(self.causes)

    @property
    def advice(self) -> list[str]:
        return [ADVICE[cause] for cause in self.causes]

    def to_dict(self) -> dict[str, Any]:
        values = {
            "lost": self.lost,
            "allowed": self.allowed,
            "causes": list(self.causes),
            "advice": self.advice,
            "concerns": list(self.concerns),
        }
        return values | ({"selected_by": self.selected_by} if self.selected_by else {})


def judge(
    metrics: Scores,
    agreement: dict[str, float],
    most: float,
    selected_by: str = "",
    concerns: Sequence[str] = (),
) -> Verdict:
    """Compare the validation accuracies of the stages.

    metrics: {"har-native": {"val": ...}, ...}, or of a rehearsal {"tflite", "tflite-int8", "emulated-int8",
    ...}. agreement: part of a stage's predictions that are the float TFLite's. most: points of accuracy that
    may be lost. selected_by: whose metrics they are.
    """
    accuracy = {stage: scores["val"].accuracy for stage, scores in metrics.items() if "val" in scores}
    final = final_stage(accuracy)
    steps = [
        ("script", "har-native", "har-fp"),
        ("quantization", "har-fp", "har-int8"),
        ("quantization", "tflite", final),
    ]
    known = [
        (cause, _points(accuracy[before], accuracy[after]))
        for cause, before, after in steps
        if {before, after} <= set(accuracy)
    ]
    causes = [cause for cause, points in known if points > most]
    if agreement.get("har-native", 1) < SAME:
        causes.insert(0, "parse")
    first = accuracy.get("har-native", accuracy.get("tflite"))
    last = accuracy.get(final)
    lost = None if first is None or last is None else _points(first, last)
    if lost is not None and lost > most and not causes:  # a little in each step
        causes = ["quantization"]
    return Verdict(lost, most, tuple(causes), tuple(concerns), selected_by)


def concerns_of(reduced: Sequence[str], noise: Mapping[str, float], simple: bool = False) -> list[str]:
    """A sentence for what the SDK says of bad numbers.

    reduced: the layers whose output bits it reduced, with the bits. noise: signal-to-noise ratios of layers,
    dB, of which the outputs' count here. simple: whether the network has neither h-swish nor gates.
    """
    cure = TRY if simple else TRY + SIMPLER_TRY
    found = [f"the SDK reduced the output bits of {', '.join(reduced)}: {cure}"] if reduced else []
    return found + [
        f"the output {name} is mostly noise, {ratio:.3g} dB where more than {BAD_SNR:g} are wanted: {cure}"
        for name, ratio in noise.items()
        if OUTPUT in name and ratio <= BAD_SNR
    ]


def final_stage(stages: Container[str]) -> str:
    """The stage that is judged."""
    return next((stage for stage in LAST if stage in stages), LAST[-1])


def _points(before: float, after: float) -> float:
    return round(100 * (before - after), 6)  # so that exactly what is allowed is not more than it


def sentence(verdict: Verdict, metrics: Scores) -> str:
    """The verdict in one line, with the interval that its number of images allows. metrics: those that were
    judged.
    """
    if verdict.lost is None:
        return "accuracy lost from float to INT8: not known yet"
    other = verdict.selected_by
    whose = f" by {other}, whose settings this network repeats on all of train" if other else ""
    stage = final_stage({stage for stage, scores in metrics.items() if "val" in scores})
    last = metrics[stage]["val"]
    low, high = last.accuracy_ci95
    return (
        f"accuracy lost from float to INT8{whose}: {verdict.lost:.2f} points of {verdict.allowed:g} allowed "
        f"({stage} {last.accuracy:.2%} [{low:.2%}, {high:.2%}] on {last.count:,} validation images)"
    )
