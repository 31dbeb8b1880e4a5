"""The fuzzer sees what is wrong: tracebacks, lines that are none, processes that die, hang or swell."""

import contextlib
import json
import time

import pytest

from fer_hailo.common.errors import UserError
from tools.fuzz import __main__, campaign
from tools.fuzz.campaign import Worker, fuzz
from tools.fuzz.formats import Format
from tools.fuzz.worker import outcome_of


def raises(error):
    def read(path):
        raise error(path)

    return read


def deep(path):
    return json.loads("[" * 100_000)


@pytest.mark.parametrize(
    ("read", "outcome"),
    [
        (lambda path: "two\nlines", "read"),
        (raises(lambda path: UserError(f"{path} is damaged: copy it again")), "refused"),
        (raises(lambda path: UserError("something is damaged")), "refused with"),
        (raises(lambda path: UserError(f"{path}: {'x' * 5000}")), "refused with"),
        (raises(lambda path: KeyError("labels")), "KeyError: 'labels'"),
        (raises(lambda path: MemoryError()), "MemoryError"),
        (raises(lambda path: SystemExit(1)), "SystemExit"),
        (deep, "RecursionError"),
        (lambda path: "red \x1b[31m", "describes it with"),
    ],
)
def test_what_is_a_fault(tmp_path, read, outcome):
    found = outcome_of(read, tmp_path / "x-1__a.x", named=True)
    assert found == outcome if outcome in ("read", "refused") else found.startswith(outcome)


def test_what_is_in_a_file_may_be_named_instead(tmp_path):
    refuse = raises(lambda path: UserError("seed must be a number"))
    assert outcome_of(refuse, tmp_path / "x-1__a", named=False) == "refused"
    assert outcome_of(refuse, tmp_path / "x-1__a", named=True).startswith("refused with")


PLAYED = """
import json, os, sys, time
for line in sys.stdin:
    text = open(line.split(" ", 1)[1].strip()).read()
    if text == "die": os.abort()
    if text == "hang": time.sleep(60)
    print(json.dumps({"outcome": "refused" if text == "bad" else "read",
                      "peak": (3 << 30) if text == "swell" else 1 << 20}), flush=True)
"""


@pytest.fixture
def worker(monkeypatch):
    """One that plays what a file says."""
    monkeypatch.setattr(campaign, "PROGRAM", ["-c", PLAYED])
    monkeypatch.setattr(campaign, "LONGEST", 1.0)
    with contextlib.closing(Worker()) as worker:
        yield worker


def test_a_worker_that_dies_or_hangs_is_started_again(tmp_path, worker):
    outcomes = []
    for text in ("good", "die", "bad", "hang", "good"):
        (tmp_path / "a").write_text(text)
        outcomes.append(worker.ask("x", tmp_path / "a")[0])
        assert worker.alive == (text not in ("die", "hang"))
    assert outcomes[0::2] == ["read", "refused", "read"]
    assert outcomes[1].startswith("the process died (-6)") and outcomes[3] == "it took more than 1 s"


class Plays:
    """Files that say what is to happen to them, in the place of damaged ones."""

    def __init__(self, monkeypatch, texts):
        self.texts = texts
        monkeypatch.setattr(campaign, "mutants", self.mutants)
        monkeypatch.setattr(campaign, "whole", lambda name: campaign.Sample("a.x", b"good"))

    def mutants(self, name, seed, first):
        return iter(campaign.Sample("a.x", text.encode()) for text in self.texts[first:])


def test_faults_are_counted_and_kept(tmp_path, monkeypatch, worker):
    Plays(monkeypatch, ["good", "bad", "die", "swell", "good"])
    total = fuzz("x", 5, 7, tmp_path, worker, tmp_path / "state.json")
    assert (total.done, total.outcomes, total.restarts) == (5, {"read": 2, "refused": 1}, 1)
    assert set(total.faults) == {"2", "3"} and total.faults["3"].endswith("MiB above the start")
    assert {path.name for path in tmp_path.glob("x-*")} == {"x-7-2__a.x", "x-7-3__a.x"}
    assert total.peak == (3 << 30) - (1 << 20)


def test_an_interrupted_campaign_goes_on(tmp_path, monkeypatch, worker):
    files, state = Plays(monkeypatch, ["good", "bad", "good", "bad"]), tmp_path / "state.json"
    assert fuzz("x", 2, 7, tmp_path, worker, state).done == 2
    files.texts[:2] = ["hang", "hang"]  # not asked again
    total = fuzz("x", 4, 7, tmp_path, worker, state)
    assert (total.done, total.outcomes, total.faults) == (4, {"read": 2, "refused": 2}, {})


def test_the_command(tmp_path, monkeypatch, capsys, worker):
    Plays(monkeypatch, ["good", "die"])
    monkeypatch.setattr(__main__, "FORMATS", {"x": Format(list, ())})
    start = time.monotonic()
    assert __main__.main(["x", "--count", "2", "--seed", "7", "--out", str(tmp_path)]) == 1
    said = capsys.readouterr().out
    assert "x: 2 files, 1 read, 0 refused, 1 faults" in said and "x 1: the process died" in said
    assert time.monotonic() - start < 20
    monkeypatch.setattr(__main__, "FORMATS", {"x": Format(list, (), limit="the process died")})
    assert __main__.main(["x", "--count", "2", "--seed", "7", "--out", str(tmp_path)]) == 0
    with pytest.raises(UserError, match="unknown format y: known are x"):
        __main__.main(["y"])
