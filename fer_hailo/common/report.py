"""HTML pages with inline SVG, whole in one file: standard library only, so that the SDK machine can write
them too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from fer_hailo.common.files import write_text
from fer_hailo.common.metrics import Bin, Metrics, wilson
from fer_hailo.common.palette import COLOURS, GREY, look

STYLE = """
:root{color-scheme:light dark;--ink:#1b2733;--paper:#fff;--soft:#5b6b7a;--line:#dde4ea;--warn:#fdecea}
@media screen and (prefers-color-scheme:dark){
:root{--ink:#e4e9ee;--paper:#14181d;--soft:#9aa8b5;--line:#37414b;--warn:#43211d}}
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;
color:var(--ink);background:var(--paper);overflow-wrap:break-word}
h1{font-size:1.5rem;margin-bottom:.2rem}h2{font-size:1.1rem;margin:2rem 0 .5rem}
.note{color:var(--soft)}.warn{background:var(--warn);border-left:4px solid #d0503f;padding:.5rem .8rem}
.scroll{overflow-x:auto;margin:.5rem 0}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}
th,td{padding:.25rem .7rem;text-align:right;border-bottom:1px solid var(--line)}
td{white-space:nowrap}
th:first-child,td:first-child{text-align:left}
svg{display:block;max-width:100%;height:auto}
svg text{font:12px system-ui,sans-serif;fill:var(--ink)}svg .filled{fill:#fff}
svg .grid{stroke:var(--line)}
@media (max-width:40rem){body{margin-top:1rem;font-size:16px}th,td{padding:.35rem .5rem}}
@media print{body{margin:0;max-width:none;font-size:10pt}h2{break-after:avoid}.scroll{overflow:visible}
svg,tr,.warn{break-inside:avoid}svg{min-width:0!important}td{white-space:normal}
*{print-color-adjust:exact;-webkit-print-color-adjust:exact}}
"""
LEAST = 0.7  # of its own width; narrower, the text of a figure is too small


def write_page(path: Path | str, title: str, note: str, sections: Sequence[tuple[str, str]]) -> None:
    """Write a page: (heading, HTML) sections under a title and a note (plain text). It fits a phone and a
    desk, a dark screen and paper.
    """
    body = "".join(f"<h2>{escape(heading)}</h2>\n{html}\n" for heading, html in sections)
    write_text(
        path,
        "<!doctype html><html lang=en><meta charset=utf-8>"
        '<meta name=viewport content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style>\n"
        f"<h1>{escape(title)}</h1><p class=note>{escape(note)}</p>\n{body}</html>\n",
    )


def table(header: Sequence[str], rows: Sequence[Sequence]) -> str:
    """An HTML table of plain values, which scrolls sideways where the page is narrower."""
    head = "".join(f"<th>{escape(str(cell))}</th>" for cell in header)
    lines = "".join(
        "<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows
    )
    return _scroll(f"<table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table>")


def metrics_table(metrics: Metrics) -> str:
    """Overall scores and one row a class, with intervals."""
    low, high = metrics.accuracy_ci95
    rows = [("all", f"{metrics.count:,}", f"{metrics.accuracy:.2%}", f"{low:.2%} – {high:.2%}")]
    for name, row in zip(metrics.labels, range(len(metrics.labels)), strict=True):
        count, hits = sum(metrics.confusion_matrix[row]), metrics.confusion_matrix[row][row]
        low, high = wilson(hits, count)
        rows.append(
            (
                name,
                f"{count:,}",
                f"{hits / count:.2%}" if count else "–",
                f"{low:.2%} – {high:.2%}" if count else "–",
            )
        )
    summary = (
        f"macro recall {metrics.macro_recall:.2%}, macro F1 {metrics.macro_f1:.2%}, calibration error "
        f"{metrics.ece:.2%}"
    )
    return table(("class", "images", "right", "95 % interval"), rows) + f"<p class=note>{summary}</p>"


def confusion_figure(metrics: Metrics) -> str:
    """The confusion matrix as SVG: counts, shaded by the share of the row."""
    names, matrix = metrics.labels, metrics.confusion_matrix
    cell, left, top = 76, 90, 30
    side = cell * len(names)
    parts = [_text(left + side / 2, top + side + 16, "predicted; rows are the truth")]
    for i, name in enumerate(names):
        y = top + i * cell
        parts += [
            _text(left - 8, y + cell / 2 + 4, name, anchor="end"),
            _text(left + (i + 0.5) * cell, top - 10, name),
        ]
        for j, value in enumerate(matrix[i]):
            x, share = left + j * cell, value / max(1, sum(matrix[i]))
            parts.append(
                _tag(
                    "rect",
                    x=x,
                    y=y,
                    width=cell - 2,
                    height=cell - 2,
                    fill=COLOURS[0],
                    fill_opacity=f"{share:.3f}",
                    class_="grid",
                )
            )
            look = {"class_": "filled"} if share > 0.55 else {}
            parts.append(_text(x + cell / 2, y + cell / 2, f"{value:,}", **look))
            parts.append(_text(x + cell / 2, y + cell / 2 + 15, f"{share:.0%}", **look))
    hits = ", ".join(
        f"{name} {row[i]:,} of {sum(row):,}" for i, (name, row) in enumerate(zip(names, matrix, strict=True))
    )
    return _figure(left + side + 10, top + side + 24, f"confusion matrix; right: {hits}", parts)


def line_figure(series: Mapping[str, Sequence[float | None]], x_label: str, marks: Sequence[int] = ()) -> str:
    """Curves over 1, 2, 3 ... as SVG.

    None leaves a gap; `marks` are places between points that get a dashed line.
    """
    values = [v for line in series.values() for v in line if v is not None]
    if not values:
        return "<p class=note>nothing to draw</p>"
    low, high = min(values), max(values)
    high = high if high > low else low + 1
    count = max(len(line) for line in series.values())
    wide, tall, left, top = 680, 260, 60, 14

    def x(i: float) -> float:
        return round(left + i * wide / max(1, count - 1), 1)

    def y(v: float) -> float:
        return round(top + tall * (1 - (v - low) / (high - low)), 1)

    parts = []
    for value in (low + (high - low) * step / 4 for step in range(5)):
        parts.append(_tag("line", x1=left, x2=left + wide, y1=y(value), y2=y(value), class_="grid"))
        parts.append(_text(left - 8, y(value) + 4, f"{value:.3g}", anchor="end"))
    for mark in marks:
        at: dict[str, Any] = {"x1": x(mark - 0.5), "x2": x(mark - 0.5), "y1": top, "y2": top + tall}
        parts.append(_tag("line", stroke=GREY, stroke_dasharray="4 4", **at))
    for number, (name, line) in enumerate(series.items()):
        begin, under = left + number * 170, top + tall + 44
        colour, dash, _ = look(number)
        drawn: dict[str, Any] = {"stroke": colour, "stroke_width": 2}
        drawn["stroke_dasharray"] = " ".join(map(str, dash)) or "none"
        points = " ".join(f"{x(i)},{y(v)}" for i, v in enumerate(line) if v is not None)
        parts.append(_tag("polyline", points=points, fill="none", **drawn))
        parts.append(_tag("line", x1=begin, x2=begin + 26, y1=under, y2=under, **drawn))
        parts.append(_text(begin + 32, under + 5, name, anchor="start"))
    for middle, label in ((left, 1), (left + wide, count), (left + wide / 2, x_label)):
        parts.append(_text(middle, top + tall + 18, label))
    return _figure(left + wide + 20, top + tall + 60, f"curves over {x_label}: {_in_words(series)}", parts)


def _in_words(series: Mapping[str, Sequence[float | None]]) -> str:
    return "; ".join(
        f"{name} from {known[0]:.3g} to {known[-1]:.3g}, at least {min(known):.3g}, at most {max(known):.3g}"
        for name, line in series.items()
        if (known := [v for v in line if v is not None])
    )


def bar_figure(values: dict[str, float], unit: str, limit: float | None = None) -> str:
    """Horizontal bars as SVG, one a name, in their order; a dashed line at `limit`, and the bars below it in
    another colour.
    """
    if not values:
        return "<p class=note>nothing to draw</p>"
    left, wide, row = 330, 420, 17
    low, high = min(0.0, *values.values(), limit or 0), max(*values.values(), limit or 0, 1e-9)
    tall = row * len(values)

    def x(value: float) -> float:
        return round(left + wide * (value - low) / (high - low), 1)

    parts = []
    for number, (name, value) in enumerate(values.items()):
        y = 6 + number * row
        colour = COLOURS[1] if limit is not None and value < limit else COLOURS[0]
        parts.append(_text(left - 8, y + 11, name if len(name) < 50 else f"{name[:47]}...", anchor="end"))
        parts.append(
            _tag(
                "rect",
                x=min(x(0), x(value)),
                y=y,
                width=round(abs(x(value) - x(0)), 1),
                height=row - 4,
                fill=colour,
            )
        )
        parts.append(_text(max(x(0), x(value)) + 6, y + 11, f"{value:.1f}", anchor="start"))
    if limit is not None:
        parts.append(
            _tag("line", x1=x(limit), x2=x(limit), y1=0, y2=tall + 6, stroke=GREY, stroke_dasharray="4 4")
        )
        parts.append(_text(x(limit), tall + 20, f"{limit:g} {unit}"))
    least, most = min(values, key=values.__getitem__), max(values, key=values.__getitem__)
    told = f"bars, {unit}: from {least} {values[least]:.1f} to {most} {values[most]:.1f}"
    if limit is not None:
        told += f"; {sum(value < limit for value in values.values())} below {limit:g}"
    return _figure(left + wide + 60, tall + 28, told, parts)


def reliability_figure(bins: Sequence[Bin]) -> str:
    """Accuracy against confidence as SVG; on the diagonal a model's confidence can be taken at its word."""
    side, left, top = 260, 50, 12
    bottom, width = top + side, side / len(bins)
    parts = [_tag("rect", x=left, y=top, width=side, height=side, fill="none", class_="grid")]
    for number, b in enumerate(bins):
        if b.accuracy is not None:
            height = round(side * b.accuracy, 1)
            note = f"{b.count:,} images: confidence {b.confidence:.1%}, accuracy {b.accuracy:.1%}"
            place = {
                "x": round(left + number * width, 1),
                "y": bottom - height,
                "width": round(width - 1, 1),
                "height": height,
            }
            parts.append(_tag("rect", _tag("title", note), fill=COLOURS[0], fill_opacity=0.7, **place))
    parts.append(
        _tag("line", x1=left, y1=bottom, x2=left + side, y2=top, stroke=GREY, stroke_dasharray="4 4")
    )
    for x, y, label in (
        (left, bottom + 16, "0"),
        (left + side, bottom + 16, "1"),
        (left + side / 2, bottom + 34, "confidence"),
    ):
        parts.append(_text(x, y, label))
    turned = f"translate({left - 28} {top + side / 2}) rotate(-90)"
    parts += [
        _text(left - 8, top + 10, "1", anchor="end"),
        _tag("text", "accuracy", transform=turned, text_anchor="middle"),
    ]
    told = ", ".join(f"{b.accuracy:.0%} at {b.confidence:.0%}" for b in bins if b.accuracy is not None)
    return _figure(left + side + 20, bottom + 44, f"reliability, accuracy at confidence: {told}", parts)


def _figure(width: float, height: float, label: str, parts: list[str]) -> str:
    """label: what who does not see it is told. On a phone it shrinks as far as its text can be read, then
    scrolls.
    """
    least = f"min-width:{LEAST * width:.0f}px"
    look = {"viewBox": f"0 0 {width} {height}", "width": width, "role": "img", "aria_label": label}
    return _scroll(_tag("svg", "".join(parts), style=least, **look))


def _scroll(html: str) -> str:
    """A box that scrolls sideways, by keys too."""
    return f'<div class="scroll" tabindex="0">{html}</div>'


def _text(x: float, y: float, value, anchor: str = "middle", **attributes) -> str:
    return _tag("text", escape(str(value)), x=round(x, 1), y=round(y, 1), text_anchor=anchor, **attributes)


def _tag(name: str, body: str = "", **attributes) -> str:
    """An element; `body` is markup, attribute values are plain text, `_` in their names stands for `-`, at
    the end for nothing.
    """
    names = (key.rstrip("_").replace("_", "-") for key in attributes)
    written = "".join(
        f' {key}="{escape(str(value))}"' for key, value in zip(names, attributes.values(), strict=True)
    )
    return f"<{name}{written}>{body}</{name}>"
