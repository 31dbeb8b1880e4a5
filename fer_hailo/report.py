"""HTML pages with inline SVG, whole in one file: standard library only, so that the SDK machine can write them too."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from fer_hailo.files import write_text
from fer_hailo.metrics import wilson

STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1b2733;background:#fff}
h1{font-size:1.5rem;margin-bottom:.2rem}h2{font-size:1.1rem;margin:2rem 0 .5rem}
.note{color:#5b6b7a}.warn{background:#fdecea;border-left:4px solid #c0392b;padding:.5rem .8rem}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}th,td{padding:.25rem .7rem;text-align:right;border-bottom:1px solid #dde4ea}
th:first-child,td:first-child{text-align:left}svg{max-width:100%;height:auto}svg text{font:12px system-ui,sans-serif;fill:#1b2733}
"""
COLOURS = ("#2367b1", "#d1701c", "#3b8f4a", "#8b4fa8")


def write_page(path: Path | str, title: str, note: str, sections: Sequence[tuple[str, str]]) -> None:
    """Write a page: (heading, HTML) sections under a title and a note (plain text)."""
    body = "".join(f"<h2>{escape(heading)}</h2>\n{html}\n" for heading, html in sections)
    write_text(path, f"<!doctype html><html lang=en><meta charset=utf-8><title>{escape(title)}</title><style>{STYLE}</style>\n"
                     f"<h1>{escape(title)}</h1><p class=note>{escape(note)}</p>\n{body}</html>\n")


def table(header: Sequence[str], rows: Sequence[Sequence]) -> str:
    """An HTML table of plain values."""
    head = "".join(f"<th>{escape(str(cell))}</th>" for cell in header)
    lines = "".join("<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table>"


def metrics_table(metrics: dict) -> str:
    """Overall scores and one row a class, with intervals."""
    low, high = metrics["accuracy_ci95"]
    rows = [("all", f"{metrics['count']:,}", f"{metrics['accuracy']:.2%}", f"{low:.2%} – {high:.2%}")]
    for name, row in zip(metrics["labels"], range(len(metrics["labels"])), strict=True):
        count, hits = sum(metrics["confusion_matrix"][row]), metrics["confusion_matrix"][row][row]
        low, high = wilson(hits, count)
        rows.append((name, f"{count:,}", f"{hits / count:.2%}" if count else "–", f"{low:.2%} – {high:.2%}" if count else "–"))
    summary = f"macro recall {metrics['macro_recall']:.2%}, macro F1 {metrics['macro_f1']:.2%}, calibration error {metrics['ece']:.2%}"
    return table(("class", "pictures", "right", "95 % interval"), rows) + f"<p class=note>{summary}</p>"


def confusion_figure(metrics: dict) -> str:
    """The confusion matrix as SVG: counts, shaded by the share of the row."""
    names, matrix = metrics["labels"], metrics["confusion_matrix"]
    cell, left, top = 76, 90, 30
    side = cell * len(names)
    parts = [f'<svg viewBox="0 0 {left + side + 10} {top + side + 24}" width="{left + side + 10}" role="img" aria-label="confusion matrix">']
    for i, name in enumerate(names):
        parts.append(_text(left - 8, top + i * cell + cell / 2 + 4, name, "end"))
        parts.append(_text(left + i * cell + cell / 2, top - 10, name))
        for j, value in enumerate(matrix[i]):
            share = value / max(1, sum(matrix[i]))
            ink = "#fff" if share > 0.55 else "#1b2733"
            parts.append(f'<rect x="{left + j * cell}" y="{top + i * cell}" width="{cell - 2}" height="{cell - 2}" fill="{COLOURS[0]}" fill-opacity="{share:.3f}" stroke="#dde4ea"/>')
            parts.append(f'<text x="{left + j * cell + cell / 2}" y="{top + i * cell + cell / 2}" text-anchor="middle" style="fill:{ink}">{value:,}'
                         f'<tspan x="{left + j * cell + cell / 2}" dy="15">{share:.0%}</tspan></text>')
    parts.append(_text(left + side / 2, top + side + 16, "predicted; rows are the truth"))
    return "".join(parts) + "</svg>"


def line_figure(series: dict[str, Sequence[float | None]], x_label: str, marks: Sequence[int] = ()) -> str:
    """Curves over 1, 2, 3 ... as SVG. None leaves a gap; `marks` are places between points that get a dashed line."""
    values = [v for line in series.values() for v in line if v is not None]
    if not values:
        return "<p class=note>nothing to draw</p>"
    low, high = min(values), max(values)
    high = high if high > low else low + 1
    count = max(len(line) for line in series.values())
    wide, tall, left, top = 680, 260, 60, 14

    def x(i: float) -> float:
        return left + i * wide / max(1, count - 1)

    def y(v: float) -> float:
        return top + tall * (1 - (v - low) / (high - low))

    parts = [f'<svg viewBox="0 0 {left + wide + 20} {top + tall + 60}" width="{left + wide + 20}" role="img" aria-label="{escape(x_label)}">']
    for step in range(5):
        value = low + (high - low) * step / 4
        parts.append(f'<line x1="{left}" x2="{left + wide}" y1="{y(value):.1f}" y2="{y(value):.1f}" stroke="#dde4ea"/>' + _text(left - 8, y(value) + 4, f"{value:.3g}", "end"))
    for mark in marks:
        parts.append(f'<line x1="{x(mark - 0.5):.1f}" x2="{x(mark - 0.5):.1f}" y1="{top}" y2="{top + tall}" stroke="#5b6b7a" stroke-dasharray="4 4"/>')
    for number, (name, line) in enumerate(series.items()):
        colour = COLOURS[number % len(COLOURS)]
        points = " ".join(f"{x(i):.1f},{y(v):.1f}" for i, v in enumerate(line) if v is not None)
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.append(f'<rect x="{left + number * 170}" y="{top + tall + 38}" width="12" height="12" fill="{colour}"/>' + _text(left + 18 + number * 170, top + tall + 49, name, "start"))
    parts.append(_text(left, top + tall + 18, "1") + _text(left + wide, top + tall + 18, count) + _text(left + wide / 2, top + tall + 18, x_label))
    return "".join(parts) + "</svg>"


def reliability_figure(bins: Sequence[dict]) -> str:
    """Accuracy against confidence as SVG; on the diagonal a model's confidence can be taken at its word."""
    side, left, top = 260, 50, 12
    parts = [f'<svg viewBox="0 0 {left + side + 20} {top + side + 44}" width="{left + side + 20}" role="img" aria-label="reliability">',
             f'<rect x="{left}" y="{top}" width="{side}" height="{side}" fill="none" stroke="#dde4ea"/>']
    for b in bins:
        if b["count"]:
            height = side * b["accuracy"]
            parts.append(f'<rect x="{left + side * b["low"]:.1f}" y="{top + side - height:.1f}" width="{side / len(bins) - 1:.1f}" height="{height:.1f}" fill="{COLOURS[0]}" fill-opacity=".7">'
                         f'<title>{b["count"]:,} pictures: confidence {b["confidence"]:.1%}, accuracy {b["accuracy"]:.1%}</title></rect>')
    parts.append(f'<line x1="{left}" y1="{top + side}" x2="{left + side}" y2="{top}" stroke="#5b6b7a" stroke-dasharray="4 4"/>')
    parts.append(_text(left + side / 2, top + side + 34, "confidence") + _text(left, top + side + 16, 0) + _text(left + side, top + side + 16, 1) + _text(left - 8, top + 10, 1, "end"))
    parts.append(f'<text transform="translate({left - 28} {top + side / 2}) rotate(-90)" text-anchor="middle">accuracy</text>')
    return "".join(parts) + "</svg>"


def _text(x: float, y: float, value, anchor: str = "middle") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(str(value))}</text>'
