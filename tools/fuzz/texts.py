"""Texts with the structure of YAML recipes, model scripts and CSV files, drawn by hypothesis."""

from __future__ import annotations

import csv
import io
from typing import Any

import hypothesis
from hypothesis import strategies as st

from fer_hailo.common.config import Config
from fer_hailo.script.vocabulary import COMMANDS
from tools.fuzz.values import STRANGE_TEXTS

BLOCK = 100  # that hypothesis draws at once
Text = st.SearchStrategy[str]

words = st.text(st.characters(codec="utf-8"), max_size=12) | st.sampled_from(STRANGE_TEXTS[:4])
plain = st.text("abcdefghijklmnopqrstuvwxyz_0123456789", min_size=1, max_size=12)
numbers = st.integers() | st.floats() | st.sampled_from([-1, 0, 1, 2**31, 2**63, 2**64, 10**400])


def drawn(strategy: Text, count: int, seed: int) -> list[bytes]:
    """`count` texts of a strategy as UTF-8, the same for the same seed and version of hypothesis.

    Fewer where it knows no more different ones.
    """
    found: list[bytes] = []

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(strategy)
    def keep(text: str) -> None:
        found.append(text.encode("utf-8", "surrogatepass"))

    keep()
    return found[:count]


# YAML


def recipes() -> Text:
    """Recipes, experiments and recipes of steps: known keys and others with values of all kinds."""
    scalars = st.none() | st.booleans() | numbers | words
    values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner,
                          max_size=3), max_leaves=6)  # fmt: skip
    keys = st.sampled_from([*Config().to_dict(), "base", "steps", "cells", "grid", "common", "seeds"]) | words
    flat = st.dictionaries(keys, values, max_size=6)
    steps = st.fixed_dictionaries({"steps": st.lists(flat | words, max_size=3)}, optional={"data": words})
    marks = st.sampled_from(["", "", "", "&a ", "*a", "!!python/object:x ", "? ", "- ", "\t", "%TAG", "--- "])
    return st.builds(lambda content, mark: mark + _yaml(content), flat | steps, marks)


def _yaml(content: Any) -> str:
    import yaml

    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


# Model scripts


def scripts() -> Text:
    """Statements of known and unknown commands with arguments of all kinds, some of them damaged."""
    names = st.sampled_from(["net/conv1", "conv*", "x", "logits", "net/fc1", "input_layer1"]) | plain
    atoms = (
        st.one_of(numbers.map(str), names, words, names.map(lambda name: "{" + name + "}"))
        | st.sampled_from(["a8_w8", "a16_w16", "enabled", "True", "None", '"', "[", "1e999", "7" * 300])
        | names.map(lambda name: f'"{name}"')
    )
    values = st.recursive(atoms, lambda inner: st.lists(inner, max_size=4).map(lambda found:
                          "[" + ", ".join(found) + "]"), max_leaves=6)  # fmt: skip
    keyed = st.builds(lambda key, value: f"{key}={value}", plain | st.sampled_from(_keys()), values)
    commands = st.sampled_from(sorted(COMMANDS)) | plain
    starts = st.sampled_from(["", "", "", "a = ", "a, b = ", "{} = ", "context_0.", "# ", "= ", "("])
    statements = st.builds(
        lambda start, command, parts, end: f"{start}{command}({', '.join(parts)}{end}",
        starts, commands, st.lists(values | keyed, max_size=5), st.sampled_from([*")))]", "", "))"]),
    )  # fmt: skip
    return st.lists(statements, max_size=6).map("\n".join)


def _keys() -> list[str]:
    return sorted({key for command in COMMANDS.values() for key in command.keys})


# CSV


def tables(columns: list[list[str]]) -> Text:
    """CSV files with the columns of one of the kinds, more or fewer, and cells of all kinds."""
    headers = st.sampled_from(columns).flatmap(
        lambda known: st.permutations(known) | st.just(known) | st.lists(st.sampled_from(known) | words)
    )
    cells = words | numbers.map(str) | st.sampled_from(CELLS)
    rows = st.lists(st.lists(cells, max_size=12), max_size=5)
    return st.builds(_csv, headers, rows, st.sampled_from(["\n", "\r\n", "\r"]))


CELLS = (
    "Training",
    "PublicTest",
    "0",
    "6",
    "happy",
    "a.png",
    "b.png",
    "train",
    "1 2 3",
    " ".join(["7"] * 2304),
)


def _csv(header: list[str], rows: list[list[str]], end: str) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator=end).writerows([header, *rows])
    return buffer.getvalue()
