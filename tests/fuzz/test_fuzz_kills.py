"""kill -9 in the middle of train, convert and compile: called again, they end where they would have ended.

`make fuzz` kills a hundred times, at moments by chance.
"""

import contextlib
import dataclasses
import random
import shutil

import pytest

from fer_hailo.common.config import save_config
from tools.fuzz import kills
from tools.fuzz.kills import TARGETS, Reference, Server, kill_once, of_conversion, undisturbed


class At(random.Random):
    """Chooses this change of a file."""

    def __init__(self, event):
        super().__init__(1)
        self.random, self.randrange = lambda: 0.0, lambda *limits: event


@pytest.fixture(scope="module")
def training():
    with contextlib.closing(Server("training")) as server:
        yield server


def linked(folder, run):
    """A folder in which `run` is what the digests are taken of."""
    folder.mkdir()
    (folder / "run").symlink_to(run)
    return folder


def test_train(training, small):
    target = dataclasses.replace(TARGETS["train"], prepare=lambda f: save_config(small, f / "recipe.yaml"))
    # Not the fixture `trained`: what ran before in its process may have changed how threads share a sum
    reference = undisturbed(target, training, runs=1)
    cut = killed_before(target.prepare, training, kills.TRAIN, 60)
    twice = dataclasses.replace(target, prepare=cut, first=["train", "--resume", "run"])
    assert kill_once(twice, training, reference, At(20)) == ("event 20", "")


def killed_before(prepare, server, arguments, event):
    """Prepares a folder in which the command was killed once already."""

    def prepared(folder):
        prepare(folder)
        assert server.run(folder, arguments, event=event)["status"] == -9

    return prepared


def test_convert(training, trained, converted, tmp_path):
    def prepare(folder):
        shutil.copytree(trained, folder / "run", ignore=shutil.ignore_patterns("deploy", "conversion*"))

    twice = killed_before(prepare, training, kills.CONVERT, 40)
    target = dataclasses.replace(TARGETS["convert"], prepare=twice)
    reference = Reference(of_conversion(linked(tmp_path / "whole", trained)), 0, 0)
    assert kill_once(target, training, reference, At(100)) == ("event 100", "")


def test_compile():
    target = TARGETS["compile"]
    with contextlib.closing(Server("sdk")) as server:
        reference = undisturbed(target, server, runs=1)
        assert len(reference.digests) == 5 and reference.events > 50
        twice = dataclasses.replace(target, prepare=killed_before(target.prepare, server, kills.COMPILE, 90))
        assert kill_once(twice, server, reference, At(20)) == ("event 20", "")
        other = dataclasses.replace(reference, digests=reference.digests | {"model.hef": "another"})
        assert kill_once(target, server, other, At(90)) == ("event 90", "model.hef differ")


def test_what_is_told(capsys):
    assert kills._tell([["train", "event 3", ""], ["convert", "after 1.5", "called again: error"]]) == 1
    said = capsys.readouterr().out.splitlines()
    assert said[:2] == ["train: killed 1 times, 1 gone on to the same bits",
                        "convert: killed 1 times, 0 gone on to the same bits"]  # fmt: skip
    assert said[-1] == "  convert 1 (killed after 1.5): called again: error"
