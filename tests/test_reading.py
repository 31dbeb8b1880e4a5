"""Records of a run, damaged in every way: one line that names the file, from each of their readers."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

from fer_hailo.common import runs
from fer_hailo.common.errors import UserError
from fer_hailo.common.files import read_yaml
from fer_hailo.common.metrics import read_metrics
from fer_hailo.common.reading import read_whole
from fer_hailo.common.results import read_rows
from fer_hailo.deploy.home import Use, resolve
from fer_hailo.deploy.selection import read_selection
from fer_hailo.deploy.steps import read_steps
from fer_hailo.formats.tflite import read_tflite
from fer_hailo.training.data.ferplus import read_votes
from fer_hailo.training.data.sources import open_source
from fer_hailo.training.data.targets import read_targets

DAMAGED = {
    "empty": b"",
    "null": b"null",
    "a list": b"[]",
    "a number": b"7",
    "cut off": b'{"data": {"key": "a',
    "other keys": b'{"other": 1}',
    "other values": b'{"data": 3, "resumed": 3, "accuracy": [], "threshold": {}}',
    "no text": bytes(range(128, 256)),
    "deep": b"[" * 100_000,
    "a long number": b'{"data": ' + b"7" * 5000 + b"}",
}


def confidence(run: Path):
    (run / "best_model_float32.keras").touch()
    (run / "config.yaml").write_text("seed: 1\n")
    (run / "DONE").touch()
    return resolve(run, Use.LEARN).confidence


READERS = {
    "environment.json": lambda run: runs.data_key(run),
    "metrics_val.json": lambda run: read_metrics(run / "metrics_val.json"),
    "selection.json": read_selection,
    "confidence.json": confidence,
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_record_is_one_line(tmp_path, name, damage):
    if (name, damage) == ("confidence.json", "null"):
        pytest.skip("says that nothing is known")
    (tmp_path / name).write_bytes(DAMAGED[damage])
    with pytest.raises(UserError) as caught:
        READERS[name](tmp_path)
    assert str(tmp_path / name) in str(caught.value) and "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_environment_is_not_written_over(tmp_path, damage):
    path = tmp_path / "environment.json"
    path.write_bytes(DAMAGED[damage])
    with pytest.raises(UserError, match="does not tell how this run began"):
        runs.note_resumed(tmp_path)
    assert path.read_bytes() == DAMAGED[damage]


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_record_of_steps_costs_time_only(tmp_path, damage):
    (tmp_path / "steps.json").write_bytes(DAMAGED[damage])
    assert read_steps(tmp_path / "steps.json") == {}


def test_a_resumed_run_is_noted(tmp_path):
    (tmp_path / "environment.json").write_text(
        '{"data": {"key": "abc"}, "resumed": ["once"], "date": "today"}'
    )
    runs.note_resumed(tmp_path)
    record = json.loads((tmp_path / "environment.json").read_text())
    assert (runs.data_key(tmp_path), record["date"], record["resumed"][0]) == ("abc", "today", "once")
    assert len(record["resumed"]) == 2 and record["resumed"][1]["command"]


def test_only_regular_files_of_a_sane_size_are_read_whole(tmp_path):
    (tmp_path / "large").write_bytes(bytes(1000))
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zeros").symlink_to("/dev/zero")
    assert len(read_whole(tmp_path / "large", 1000)) == 1000
    for name, word in (("large", "more than"), ("pipe", "no regular file"), ("zeros", "no regular file")):
        with pytest.raises(UserError, match=word):
            read_whole(tmp_path / name, 999)
    with pytest.raises(IsADirectoryError):
        read_whole(tmp_path)


@pytest.mark.parametrize(
    "text, word",
    [
        ("seed: 1\nseed: 2\n", "seed is given twice"),
        ("a: {b: 1, b: 2}", "b is given twice"),
        ("seed: " + "7" * 5000, "digits"),
        ("[" * 5000, "not YAML"),
        ("seed: 2001-99-99", "not YAML"),
        ("seed: !!binary a", "not YAML"),
        ("? [1, 2]\n: 3", "not YAML"),
        ("- 1", "holds a list"),
        ("seed: \x00", "not YAML"),
    ],
)
def test_yaml_of_all_kinds(tmp_path, text, word):
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(UserError, match=word) as caught:
        read_yaml(tmp_path / "c.yaml", "the configuration")
    assert str(tmp_path / "c.yaml") in str(caught.value) and "\n" not in str(caught.value)


def test_yaml_without_end(tmp_path):
    for path in ("/dev/zero", tmp_path / "none.yaml"):
        with pytest.raises(UserError):
            read_yaml(path, "the configuration")
    (tmp_path / "large.yaml").write_text("a: 1\n" * 300_000)
    with pytest.raises(UserError, match="more than 1 MiB"):
        read_yaml(tmp_path / "large.yaml", "the configuration")


@pytest.mark.parametrize(
    "read", [read_votes, read_targets, read_tflite, runs.read_labels, read_rows, open_source]
)
def test_what_has_no_end_is_not_read(tmp_path, read):
    """--votes /dev/zero took all the memory that there was."""
    path = tmp_path / "endless.csv"
    path.symlink_to("/dev/zero")
    with pytest.raises(UserError, match="endless.csv"):
        read(path)


def test_a_python_without_lzma_will_do():
    """As those are that were built where its headers were missing."""
    code = "import sys; sys.modules['lzma'] = None; import fer_hailo.common.files; print(1)"
    command = [sys.executable, "-c", code]
    assert subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True).stdout == "1\n"
