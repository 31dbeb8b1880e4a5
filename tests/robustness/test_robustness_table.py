"""The tables of docs/robustness.md."""

import numpy as np
import pytest
from conftest import ROOT

from fer_hailo.common.errors import UserError
from fer_hailo.common.files import read_csv
from fer_hailo.robustness.table import TABLE
from tools.robustness_table import accuracies, curves, losses, with_tables


def rows_of(model: str, stage: str, clean: float, accuracy: dict[str, tuple]) -> list[dict]:
    cells = [("clean", "", clean)]
    cells += [(name, str(amount), value) for name, pairs in accuracy.items() for amount, value in pairs]
    shown = {"model": model, "stage": stage, "split": "val"}
    return [
        shown | {"corruption": name, "amount": amount, "accuracy": f"{value}", "loss": f"{clean - value}"}
        for name, amount, value in cells
    ]


def test_tables_by_hand():
    ours = {"darkness": ((0.6, 0.8), (0.4, 0.7)), "low_resolution": ((32, 0.9), (24, 0.5))}
    theirs = {"darkness": ((0.6, 0.5), (0.4, 0.5)), "low_resolution": ((32, 0.5), (24, 0.5))}
    name = "20261121-192600_mobilenet_v3_small_s42, model_int8"
    rows = rows_of(name, "tflite-int8", 0.8, ours) + rows_of("fer", "peer", 0.5, theirs)
    assert losses(rows).splitlines() == [
        "| points lost | mobilenet_v3_small, INT8 | fer |",
        "| --- | --- | --- |",
        "| clean, accuracy | 80.0 % | 50.0 % |",
        "| darkness | 5.0 | 0.0 |",
        "| low resolution | 10.0 | 0.0 |",
        "| **mean loss** | **7.5** | **0.0** |",
    ]
    assert accuracies(rows).splitlines()[2:] == [
        "| darkness | 0.6 / 0.4 | 80.0 / 70.0 | 50.0 / 50.0 |",
        "| low resolution | 32 / 24 | 90.0 / 50.0 | 50.0 / 50.0 |",
    ]
    assert curves(rows)["low resolution"] == {
        "mobilenet_v3_small, INT8 (mean loss 7.5)": [0.8, 0.9, 0.5],
        "fer (mean loss 0.0)": [0.5, 0.5, 0.5],
    }
    with pytest.raises(UserError, match="no rows of test"):
        with_tables("<!-- losses test: tools/robustness_table.py -->\n<!-- end of losses test -->\n", rows)


def test_the_documented_numbers_are_of_this_table():
    """Each model of docs/robustness.csv was scored by the table as it stands, and the document quotes it."""
    rows = read_csv(ROOT / "docs" / "robustness.csv")
    text = (ROOT / "docs" / "robustness.md").read_text(encoding="utf-8")
    assert with_tables(text, rows) == text
    amounts = [(row.name, f"{amount:g}") for row in TABLE for amount in row.amounts]
    for split, count in (("val", "3877"), ("test", "2440")):
        models = dict.fromkeys(row["model"] for row in rows if row["split"] == split)
        assert len(models) > 2 and any(model.startswith("fer ") for model in models)
        for model in models:
            own = [row for row in rows if (row["model"], row["split"]) == (model, split)]
            assert {row["count"] for row in own} == {count}
            clean, *cells = own
            assert [(row["corruption"], row["amount"]) for row in cells] == amounts
            lost = float(clean["accuracy"]) - np.array([float(row["accuracy"]) for row in cells])
            assert np.allclose(lost, [float(row["loss"]) for row in cells], atol=2e-6)
