"""compile_report.json and .html: of a compilation, or of its rehearsal."""

from __future__ import annotations

from pathlib import Path

from fer_hailo.common.calls import call
from fer_hailo.common.files import write_json
from fer_hailo.common.metrics import Metrics
from fer_hailo.common.report import bar_figure, confusion_figure, metrics_table, table, write_page
from fer_hailo.common.results import FLOAT_STEM
from fer_hailo.deploy.answers import ANSWERS
from fer_hailo.emulation.stages import EmulationFacts
from fer_hailo.sdk.facts import Compiled, Facts, Rehearsed
from fer_hailo.sdk.rehearsal import CalibrationFacts, SpeedBound
from fer_hailo.sdk.verdict import BAD_SNR, sentence

REHEARSAL = "rehearsal: no HEF was made"
NAMES = {
    "keras": "Keras", "tflite": "TFLite, float32", "tflite-int8": "TFLite, INT8",
    FLOAT_STEM: "TFLite, INT8 but for its float layers",
    "har-native": "native (parsed, float)", "har-fp": "with the model script, float",
    "har-int8": "INT8 (emulated)",
    "emulated-int8": "8 bit, emulated in integers", "emulated-a16": "8 and 16 bit, emulated in integers",
}  # fmt: skip
WORST = 40  # layers that are drawn
BOARD = (
    f"{ANSWERS} keeps the INT8 predictions image by image: on the board, {call('evaluate')} model.hef "
    "--data BUNDLE compares with them."
)


def write_compile_report(folder: Path, facts: Facts) -> Path:
    """Write both files. Returns the page's path."""
    write_json(folder / "compile_report.json", facts.to_dict())
    heading = f"{facts.title} ({REHEARSAL})" if isinstance(facts.outcome, Rehearsed) else facts.title
    sections = [("Result", _result(facts))]
    if facts.metrics:
        sections.append(("Accuracy at each step", _accuracy(facts)))
    sections += [
        (f"{NAMES[stage]}: {split}", metrics_table(m) + confusion_figure(m))
        for stage, split, m in _details(facts)
    ]
    if facts.noise:
        worst = dict(sorted(facts.noise.items(), key=lambda entry: entry[1])[:WORST])
        sections.append(
            (
                f"Signal-to-noise ratio of the layers, the worst {len(worst)} of {len(facts.noise)}",
                bar_figure(worst, "dB", BAD_SNR),
            )
        )
    sections += _outcome(facts)
    sections.append(("Settings", table(("", ""), [(name, value) for name, value in facts.settings.items()])))
    sections.append(
        (
            "Versions and times",
            table(
                ("", ""), [*facts.versions.items(), *((f"{k}, seconds", v) for k, v in facts.seconds.items())]
            ),
        )
    )
    write_page(
        folder / "compile_report.html",
        heading,
        f"Bundle {facts.bundle}, {facts.hw_arch}, {facts.date}.",
        sections,
    )
    return folder / "compile_report.html"


def _outcome(facts: Facts) -> list[tuple[str, str]]:
    found = facts.outcome
    if isinstance(found, Compiled):
        return (
            [("HEF", table(("", ""), _hef_rows(found.hef)) + f"<p class=note>{BOARD}</p>")]
            if found.hef
            else []
        )
    sections = [("What was emulated", _emulation(found.emulation))] if found.emulation else []
    speed = _speed(found.speed, facts.hw_arch)
    return [*sections, ("Calibration set", _calibration(found.calibration)), ("Work for the chip", speed)]


def _result(facts: Facts) -> str:
    lines = [sentence(facts.verdict, facts.judged), *facts.verdict.advice]
    bad = facts.verdict.failed
    text = "".join(f"<p class={'warn' if bad else 'note'}>{_plain(line)}</p>" for line in lines)
    others = [*facts.verdict.concerns, *facts.warnings]
    return text + "".join(f"<p class=warn>{_plain(line)}</p>" for line in others)


def _accuracy(facts: Facts) -> str:
    rows = []
    stages = {"keras": facts.reference} | facts.metrics if facts.reference else facts.metrics
    scored = [
        (stage, split, metrics) for stage, scores in stages.items() for split, metrics in scores.items()
    ]
    other = facts.verdict.selected_by
    if other:  # its own validation side was trained on
        scored += [(stage, f"val of {other}", scores["val"]) for stage, scores in facts.judged.items()]
    for stage, split, metrics in scored:
        low, high = metrics.accuracy_ci95
        rows.append(
            (NAMES[stage], split, f"{metrics.count:,}", f"{metrics.accuracy:.2%}", f"{low:.2%} – {high:.2%}",
             f"{metrics.macro_recall:.2%}", f"{metrics.ece:.2%}")
        )  # fmt: skip
    return table(
        ("step", "split", "images", "accuracy", "95 % interval", "macro recall", "calibration error"), rows
    )


def _details(facts: Facts) -> list[tuple[str, str, Metrics]]:
    shown = "test" if facts.verdict.selected_by else "val"
    return [(stage, shown, scores[shown]) for stage, scores in facts.metrics.items() if shown in scores]


def _emulation(facts: EmulationFacts) -> str:
    correction = (
        "by what the rounding of their kernels adds on average" if facts.bias_correction else "not corrected"
    )
    rows = [
        ("ranges", f"smallest and largest value over {facts.calibset_size:,} calibration images"),
        ("biases", correction),
        *((f"16 bit: {name}", mode) for name, mode in facts.wide.items()),
        *((f"ignored in the script ({number})", line) for number, line in enumerate(facts.ignored, 1)),
    ]
    note = (
        "The arithmetic is that of docs/emulation.md: whole numbers as LiteRT rounds them. It is not "
        "that of the chip."
    )
    return f"<p class=note>{note}</p>" + table(("", ""), rows)


def _calibration(facts: CalibrationFacts) -> str:
    rows = [
        ("images", f"{facts.count:,}"),
        *((f"class {name}", f"{count:,}") for name, count in facts.per_class.items()),
        ("copies", facts.duplicates),
        ("values that are 0 or 255", f"{facts.clipped:.1%}"),
        ("mean after normalisation, R G B", facts.mean),
        ("deviation after normalisation, R G B", facts.deviation),
    ]
    return table(("", ""), rows)


def _speed(speed: SpeedBound, hw_arch: str) -> str:
    bound = f"{speed.most_frames_per_second:,.0f}" if speed.most_frames_per_second else "unknown"
    work = f"{speed.parameters:,} parameters, {speed.multiply_adds / 1e6:.1f} million multiply-adds an image"
    note = (
        f"<p class=note>{work}. At the peak of {hw_arch}, {speed.tops} TOPS, that is at most {bound} "
        "frames/s. Real networks "
        "of this size stay at a few thousand: small layers do not fill the chip.</p>"
    )
    heavy = sorted(speed.layers, key=lambda layer: -layer.multiply_adds)[:15]
    share = max(1, speed.multiply_adds)
    rows = [
        (
            layer.name,
            layer.operator,
            f"{layer.parameters:,}",
            f"{layer.multiply_adds:,}",
            f"{layer.multiply_adds / share:.1%}",
        )
        for layer in heavy
    ]
    return note + table(("the heaviest layers", "operator", "parameters", "multiply-adds", "share"), rows)


def _hef_rows(hef: dict) -> list[tuple]:
    rows = [(name, value) for name, value in hef.items() if not isinstance(value, (list, dict))]
    for side in ("inputs", "outputs"):
        rows += [
            (side[:-1], ", ".join(f"{k} {v}" for k, v in stream.items())) for stream in hef.get(side, [])
        ]
    return rows


def _plain(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")
