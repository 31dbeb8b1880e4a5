"""What the accuracies before and after each step say: where accuracy was lost, and what to do about it."""

from __future__ import annotations

from collections.abc import Container

from fer_hailo.common.results import FLOAT_STEM

ADVICE = {
    "parse": "the parsed float network does not give what the TFLite gives: a fault of the parse. Compare the layers of model.har (Netron "
    "opens it) with conversion.html, and try another version of the Dataflow Compiler",
    "script": "accuracy is lost in float, with the model script alone: a fault of the script. Look at its normalization, input_conversion, "
    "resize and change_output_activation first",
    "quantization": "accuracy is lost by the numbers of 8 bits. Look at the layers with the lowest signal-to-noise ratio; then try the "
    "16-bit layers of alls/NETWORK_a16.alls (--layers), a "
    "higher optimization_level on a machine with a GPU, and the ranges in conversion.html",
}


LAST = ("har-int8", "emulated-a16", "emulated-int8", "tflite-int8", FLOAT_STEM)  # what is judged: the first of them that there is
SAME = 0.99  # part of the answers in which the parsed float network must agree with the TFLite


def judge(metrics: dict[str, dict], agreement: dict[str, float], most: float) -> dict:
    """Compare the validation accuracies of the stages.

    metrics: {"har-native": {"val": ...}, ...}, or of a rehearsal {"tflite", "tflite-int8", "emulated-int8", ...}. agreement: part of a
    stage's answers that are the float TFLite's. most: points of accuracy that may be lost.
    Returns {"lost": points from float to INT8 or None, "allowed", "causes": names in ADVICE, "advice": sentences}.
    """
    accuracy = {stage: scores["val"]["accuracy"] for stage, scores in metrics.items() if "val" in scores}
    final = final_stage(accuracy)
    steps = [("script", "har-native", "har-fp"), ("quantization", "har-fp", "har-int8"), ("quantization", "tflite", final)]
    known = [(cause, _points(accuracy[before], accuracy[after])) for cause, before, after in steps if {before, after} <= set(accuracy)]
    causes = [cause for cause, points in known if points > most]
    if agreement.get("har-native", 1) < SAME:
        causes.insert(0, "parse")
    first = accuracy.get("har-native", accuracy.get("tflite"))
    last = accuracy.get(final)
    lost = None if first is None or last is None else _points(first, last)
    if lost is not None and lost > most and not causes:  # a little in each step
        causes = ["quantization"]
    return {"lost": lost, "allowed": most, "causes": causes, "advice": [ADVICE[cause] for cause in causes]}


def final_stage(stages: Container[str]) -> str:
    """The stage that is judged."""
    return next((stage for stage in LAST if stage in stages), LAST[-1])


def _points(before: float, after: float) -> float:
    return round(100 * (before - after), 6)  # so that exactly what is allowed is not more than it


def sentence(verdict: dict, metrics: dict[str, dict]) -> str:
    """The verdict in one line, with the interval that its number of pictures allows. metrics: those that were judged."""
    if verdict["lost"] is None:
        return "accuracy lost from float to INT8: not known yet"
    other = verdict.get("selected_by")
    whose = f" by {other}, whose settings this network repeats on all of train" if other else ""
    stage = final_stage({stage for stage, scores in metrics.items() if "val" in scores})
    last = metrics[stage]["val"]
    low, high = last["accuracy_ci95"]
    return (
        f"accuracy lost from float to INT8{whose}: {verdict['lost']:.2f} points of {verdict['allowed']:g} allowed "
        f"({stage} {last['accuracy']:.2%} [{low:.2%}, {high:.2%}] on {last['count']:,} validation pictures)"
    )
