"""`fer-hailo train --list`: what each network costs, and where it can go.

No framework is loaded: the numbers are kept in networks.csv. `python -m fer_hailo.training.models.table`
writes that file anew, after a change of a network or of its recipe.
"""

from __future__ import annotations

import importlib.resources
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from fer_hailo.common.files import read_csv, write_csv

METHODS = """--method lnsu (LNSU-Net's losses) and --method ada_df_fusion (Ada-DF's targets) train any of them
that has the common head (not ada_df, dan, ddamfn, poster, poster_v2). They cost nothing at inference."""
HEADER = ("network", "input", "parameters", "multiply-adds", "licence of weights", "TFLite", "Hailo-8")


@dataclass(frozen=True)
class Row:
    """A network with its recipe's input size (side, pixels) and head.

    multiply_adds: for one image. licence: of the weights that it can start from, empty where none are
    published. tflite, hailo: as the registry has them.
    """

    network: str
    input_size: int
    parameters: int
    multiply_adds: int
    licence: str
    tflite: str
    hailo: str


def kept() -> Path:
    """The file of the committed rows."""
    return Path(str(importlib.resources.files("fer_hailo.training.models") / "networks.csv"))


def read_rows() -> list[Row]:
    """The committed rows, by name."""
    return [
        Row(
            row["network"], int(row["input_size"]), int(row["parameters"]),
            int(row["multiply_adds"]),
            row["licence"], row["tflite"],
            row["hailo"],
        )
        for row in read_csv(kept())
    ]  # fmt: skip


def write_rows(rows: list[Row]) -> None:
    """Write the rows for all to read."""
    write_csv(kept(), [field.name for field in fields(Row)], [asdict(row) for row in rows])


def list_networks() -> str:
    """The committed rows as a table for people."""
    lines = [HEADER, *map(_line, read_rows())]
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEADER))]
    table = "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )
    return f"{table}\n\n{METHODS}"


def _line(row: Row) -> tuple[str, ...]:
    size, count = f"{row.input_size} px", f"{row.multiply_adds / 1e6:,.0f} M"
    return row.network, size, f"{row.parameters:,}", count, row.licence or "none", row.tflite, row.hailo
