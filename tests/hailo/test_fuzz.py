"""Damaged files of each format are described or refused in one line; and the fuzzer sees what is wrong."""

import json
import time

import pytest

from fer_hailo.common.errors import UserError
from tools import fuzz

FIFTY, SEED = 50, 2


@pytest.mark.parametrize("name", fuzz.FORMATS)
def test_fifty_damaged_files_of_each_format(shared, tmp_path, name):
    """make fuzz reads a thousand."""
    result = fuzz.fuzz(name, FIFTY, SEED, tmp_path)
    assert result.faults == {} and not list(tmp_path.iterdir())
    # Behind the checksums, too: some are still what they say they are
    assert min(result.outcomes["read"], result.outcomes["refused"]) > 5
    assert result.outcomes.total() == FIFTY and result.slowest < 5


def test_a_seed_gives_the_same_files(shared, monkeypatch):
    for name in fuzz.FORMATS:
        first, other = (list(fuzz.mutants(name, 12, seed)) for seed in (1, 2))
        with monkeypatch.context() as tomorrow:
            now = time.time()
            tomorrow.setattr(time, "time", lambda now=now: now + 86_400)
            assert list(fuzz.mutants(name, 12, 1)) == first
        assert len({*first, *other}) > 20


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
        (raises(lambda path: UserError(f"{path} is\ndamaged")), "refused with"),
        (raises(lambda path: UserError(f"{path}: {'x' * 1000}")), "refused with"),
        (raises(lambda path: KeyError("labels")), "KeyError: 'labels'"),
        (raises(lambda path: MemoryError()), "MemoryError"),
        (raises(lambda path: SystemExit(1)), "SystemExit"),
        (deep, "RecursionError"),
        (lambda path: "red \x1b[31m", "describes it with"),
        (lambda path: time.sleep(2) or "late", "TimeoutError"),
    ],
)
def test_what_the_fuzzer_calls_a_fault(tmp_path, monkeypatch, read, outcome):
    monkeypatch.setattr(fuzz, "LONGEST", 0.2)
    format = fuzz.Format("", ".x", read, lambda sample, rng: sample)
    found = fuzz.outcome_of(format, tmp_path / "a.x")
    assert found == outcome if outcome in ("read", "refused") else found.startswith(outcome)


def test_faults_are_reported_and_kept(tmp_path, monkeypatch, capsys):
    (tmp_path / "samples").mkdir()
    (tmp_path / "samples/a.x").write_bytes(bytes(100))
    monkeypatch.setattr(fuzz, "SHARED", tmp_path)
    monkeypatch.setattr(
        fuzz, "FORMATS", {"x": fuzz.Format("samples", ".x", raises(lambda path: KeyError(1)), fuzz.damaged)}
    )
    assert fuzz.main(["--count", "3", "--seed", "7", "--keep", str(tmp_path / "kept")]) == 1
    assert {path.name for path in (tmp_path / "kept").iterdir()} == {f"x_7_{number}.x" for number in range(3)}
    assert "x: 3 files, 0 read, 0 refused, 3 faults" in capsys.readouterr().out
    monkeypatch.setattr(fuzz, "SHARED", tmp_path / "kept")
    with pytest.raises(UserError, match=r"no \.x files in .*: set FER_HAILO_SHARED"):
        fuzz.main([])
