import xml.etree.ElementTree as ET

import numpy as np

from fer_hailo.common.metrics import compute_metrics, reliability
from fer_hailo.common.report import (
    confusion_figure,
    line_figure,
    metrics_table,
    reliability_figure,
    table,
    write_page,
)

PROBABILITIES, LABELS = np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3]]), np.array([0, 1, 1])
METRICS = compute_metrics(PROBABILITIES, LABELS, ["a<b", "c&d"], data="x", split="test", sha256="0")


def texts(svg):
    return ["".join(node.itertext()) for node in ET.fromstring(svg).iter("text")]


def test_confusion_figure_shows_counts_and_shares():
    shown = texts(confusion_figure(METRICS))
    assert {"a<b", "c&d", "1", "100%", "50%", "0", "0%"} <= set(shown)


def test_curves_and_reliability_are_well_formed():
    svg = ET.fromstring(line_figure({"one": [1, None, 3], "two": [2, 2, 2]}, "epoch", [1]))
    assert len(svg.findall("polyline")) == 2 and len(svg.findall("polyline")[0].get("points").split()) == 2
    drawn = ET.fromstring(reliability_figure(reliability(PROBABILITIES, LABELS))).findall("rect")
    assert len(drawn) == 1 + 3  # the frame, and three bins of one image


def test_page_escapes_names(tmp_path):
    write_page(
        tmp_path / "r.html",
        "<title>",
        "note & more",
        [("part", metrics_table(METRICS) + table(["<h>"], [["<c>"]]))],
    )
    page = (tmp_path / "r.html").read_text()
    assert "&lt;title&gt;" in page and "a&lt;b" in page and "&lt;c&gt;" in page and "<c>" not in page
    assert "66.67%" in page
