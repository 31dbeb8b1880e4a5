"""conversion.html: what the conversion did, and what it cost."""

from __future__ import annotations

from pathlib import Path

from fer_hailo.common.report import table, write_page
from fer_hailo.deploy.bundle import FLOAT, PRIMITIVE
from fer_hailo.training.convert.facts import Conversion
from fer_hailo.training.convert.second_road import SEEN


def write_conversion_report(path: Path, title: str, facts: Conversion) -> None:
    """Write the page of what conversion.json holds."""
    parity = facts.parity
    note = (
        f"Float TFLite against Keras on {parity.count} validation images: {parity.same} predictions equal, "
        f"largest difference of a logit {parity.difference:.1e}."
    )
    sections = [("Accuracy", _accuracy(facts)), ("Clean-up of the float graph", _changes(facts))]
    sections += [("Scaled channels", _equalised(facts)), ("INT8 settings tried", _trials(facts))]
    if facts.unexpected:
        rows = [(layer.name, layer.operator) for layer in facts.unexpected]
        sections.append(
            ("Operators that the Dataflow Compiler may not take", table(("layer", "operator"), rows))
        )
    sections.append(("Second road through Hailo's parser", _second_road(facts)))
    sections.append(("Ranges of the tensors, the worst used first", _ranges(facts)))
    write_page(path, title, note, sections)


def _accuracy(facts: Conversion) -> str:
    rows = []
    for entry in facts.scored:
        for split, metrics in entry.metrics.items():
            low, high = metrics.accuracy_ci95
            drop = 100 * (facts.keras.metrics[split].accuracy - metrics.accuracy)
            latency = "–" if entry.latency_ms is None else f"{entry.latency_ms:.2f} ms"
            size = f"{entry.size_bytes / 2**20:.2f} MiB"
            rows.append(
                (entry.stage, split, f"{metrics.count:,}",
                f"{metrics.accuracy:.2%}",
                f"{low:.2%} – {high:.2%}", f"{drop:.2f}",
                 f"{metrics.macro_recall:.2%}", size, latency)
            )  # fmt: skip
    head = (
        "stage",
        "split",
        "images",
        "accuracy",
        "95 % interval",
        "points lost",
        "macro recall",
        "size",
        "one image, one thread",
    )
    return table(head, rows)


def _changes(facts: Conversion) -> str:
    if not facts.changes:
        return "<p class=note>Nothing in the network was constant.</p>"
    rows = [
        (
            c.layer,
            c.what,
            f"{c.removed} of {c.units}",
            f"{c.moved:.1e}",
            "yes" if c.kept else "no: it moves too much",
        )
        for c in facts.changes
    ]
    return table(("layer", "change", "units", "largest move of a validation logit", "kept"), rows)


def _equalised(facts: Conversion) -> str:
    done = facts.equalised
    if facts.quantised_from:
        return (
            f"<p class=note>Cleaned, folded and scaled when {facts.quantised_from} was fine-tuned for 8 "
            "bits.</p>"
        )
    text = f"{done.scaled:,} channels were scaled, which changes no answer."
    straight = "; ".join(
        f"{name}: {', '.join(map(str, channels))}" for name, channels in done.straight.items()
    )
    if straight:
        text += (
            f" Nearly constant channels of an h-swish that became its identity ({straight}; within "
            f"{done.tolerance:g} of a straight "
            f"line): {done.same:.2%} of the validation predictions stayed, the largest move of a logit is "
            f"{done.moved:.2g}."
        )
    return f"<p class=note>{text}</p>"


def _trials(facts: Conversion) -> str:
    if facts.quantised_from and facts.trials:
        (trial,) = facts.trials
        text = (
            "The ranges and biases are those that the network was fine-tuned with. On the calibration "
            "images its divergence from its own"
        )
        return (
            f"<p class=note>{text} float predictions is {trial.divergence:.4f} nats, "
            f"{trial.agreement:.1%} are the same.</p>"
        )
    rows = [(t.ends, f"{t.divergence:.4f}", f"{t.agreement:.1%}") for t in facts.trials]
    if not rows:
        return "<p class=note>No INT8 network was made: some layers have no INT8 kernel.</p>"
    counts = facts.calibration
    note = (
        f"<p class=note>Judged on the {counts.count:,} calibration images by the float network's "
        "predictions, with corrected biases; "
        "the first was taken.</p>"
    )
    return (
        table(("ranges end at the percentile", "divergence from float (nats)", "same prediction"), rows)
        + note
    )


def _second_road(facts: Conversion) -> str:
    road = facts.second_road
    if isinstance(road, str):
        return f"<p class=note>There is no {PRIMITIVE}: {road}.</p>"
    note = (
        f"<p class=note>{PRIMITIVE}, for where the parser does not take {FLOAT}: the same network in fewer "
        f"kinds of operators. On {road.count:,} calibration images its logits differ by up to "
        f"{road.difference:.1e}. Untried: no public trace was found of the operator in a TFLite that the "
        "parser took.</p>"
    )
    rows = [
        (kind, count, "seen to parse" if kind in SEEN else "untried")
        for kind, count in road.operators.items()
    ]
    return table(("operator (RELU6: also fused into others)", "how many", "Hailo's parser"), rows) + note


def _ranges(facts: Conversion) -> str:
    rows = [
        (
            r.name,
            f"{r.min:.3g}",
            f"{r.max:.3g}",
            f"{r.used:.0%}",
            f"{r.dead} of {r.channels}",
            r.constant,
            f"{r.scale:.2g}" if r.scale else "float",
        )
        for r in facts.ranges
    ]
    head = (
        "tensor",
        "smallest",
        "largest",
        "range that 99.9 % of values use",
        "dead channels",
        "constant channels",
        "INT8 scale",
    )
    note = (
        "<p class=note>Dead: 0 on every calibration image; constant: the same value. Some of these channels "
        "vary on other training "
        "images, so the clean-up, which looks at all of them, left them in.</p>"
    )
    return table(head, rows) + note
