import json
import re
import shutil
import subprocess
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from fer_hailo.common.metrics import compute_metrics, reliability
from fer_hailo.common.palette import COLOURS, DASHES, GREY, LOOKS, MARKERS, look
from fer_hailo.common.report import (
    STYLE,
    bar_figure,
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
    svg = ET.fromstring(line_figure({"one": [1, None, 3], "two": [2, 2, 2]}, "epoch", [1])).find("svg")
    assert len(svg.findall("polyline")) == 2 and len(svg.findall("polyline")[0].get("points").split()) == 2
    drawn = ET.fromstring(reliability_figure(reliability(PROBABILITIES, LABELS))).findall("svg/rect")
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


def luminance(colour):
    """Of #rrggbb, as WCAG 2 defines it."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_is_that_of_known_pairs():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


def test_colours_can_be_seen_on_paper_and_on_a_dark_page():
    """WCAG 2 asks for 3 for what is drawn, 4.5 for text."""
    light, dark = (
        dict(re.findall(r"--(\w+):(#\w+)", block)) for block in re.findall(r":root\{([^}]*)\}", STYLE)
    )
    for page in (light, dark):
        paper = page["paper"].replace("#fff", "#ffffff") if len(page["paper"]) == 4 else page["paper"]
        for colour in (*COLOURS, GREY):
            assert contrast(colour, paper) >= 3.5, colour
        assert contrast(page["ink"], paper) >= 7 and contrast(page["soft"], paper) >= 4.5
        assert contrast(page["ink"], page["warn"]) >= 7
    assert len({*DASHES}) == len({*MARKERS}) == len(COLOURS)  # told apart without colours too
    assert len({look(number) for number in range(LOOKS)}) == LOOKS


def drawings():
    """Each figure with what its text for who cannot see it must name."""
    return [
        (confusion_figure(METRICS), ["a<b 1 of 1", "c&d 1 of 2"]),
        (line_figure({"one": [1, None, 3], "two": [2, 2, 2]}, "epoch"), ["one from 1 to 3", "epoch"]),
        (bar_figure({"conv": 3.0, "head": 31.5}, "dB", 10), ["dB", "conv 3.0", "head 31.5", "1 below 10"]),
        (reliability_figure(reliability(PROBABILITIES, LABELS)), ["100% at 90%", "0% at 70%"]),
    ]


def test_figures_tell_what_they_show_in_words():
    for html, words in drawings():
        svg = ET.fromstring(html).find("svg")
        assert svg.get("role") == "img" and all(word in svg.get("aria-label") for word in words), words


def wide_page(path):
    """A page with everything that a report may hold, much of it too wide for a phone."""
    columns = [f"column {number} of a wide table" for number in range(12)]
    many = {f"features_{number}/expanded_conv/project/{'x' * 60}": number for number in range(5)}
    figures = "".join(html for html, _ in drawings())
    write_page(
        path, "wide " * 30, f"a name without spaces: {'x' * 200}",
        [("table", table(columns, [columns])), ("figures", figures), ("bars", bar_figure(many, "dB", 2))],
    )  # fmt: skip
    return path


def test_whatever_is_wide_scrolls_in_a_box_of_its_own(tmp_path):
    page = wide_page(tmp_path / "r.html").read_text()
    assert "<meta name=viewport content=" in page and "prefers-color-scheme:dark" in page
    boxes = page.count('<div class="scroll" tabindex="0">')
    assert boxes == page.count("<table") + page.count("<svg") == 6
    fixed = re.findall(r"(?<!-)width:\d+px", page.split("</style>")[0])
    assert not fixed  # widths are limits, not demands


BROWSER = next(
    filter(None, map(shutil.which, ("chromium-headless-shell", "chromium", "google-chrome", "chrome"))), None
)


@pytest.mark.skipif(not BROWSER, reason="no Chromium here")
@pytest.mark.parametrize(("width", "dark"), [(360, True), (1280, False)])
def test_in_a_browser_nothing_is_wider_than_the_page(tmp_path, width, dark):
    path = wide_page(tmp_path / "r.html")
    script = (
        "<script>const seen = e => getComputedStyle(e);"
        "document.title = JSON.stringify({seen: document.documentElement.clientWidth,"
        "page: document.documentElement.scrollWidth,"
        "boxes: [...document.querySelectorAll('.scroll')].map(e => e.scrollWidth - e.clientWidth),"
        "words: [...document.querySelectorAll('svg text')].map("
        "e => 12 * e.closest('svg').clientWidth / e.closest('svg').viewBox.baseVal.width),"
        "paper: seen(document.body).backgroundColor})</script>"
    )
    path.write_text(path.read_text().replace("</html>", script + "</html>"))
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--window-size={width},800", "--dump-dom"]
    options += ["--blink-settings=preferredColorScheme=0"] if dark else []
    done = subprocess.run([BROWSER, *options, path.as_uri()], capture_output=True, text=True, timeout=120)
    found = json.loads(re.search(r"<title>(\{.*?\})</title>", done.stdout)[1])
    assert width - 20 < found["seen"] == found["page"] <= width  # less a scroll bar
    assert len(found["boxes"]) == 6 and found["boxes"][0] > 0  # the table has what is too wide
    assert min(found["words"]) >= 8  # pixels
    assert found["paper"] == ("rgb(20, 24, 29)" if dark else "rgb(255, 255, 255)")
