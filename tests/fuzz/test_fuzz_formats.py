"""A few damaged files of every format are read, or refused in one line. `make fuzz` reads ten thousand."""

import contextlib
import itertools

import pytest

from fer_hailo.common.errors import UserError
from fer_hailo.training.networks.registry import ARCHITECTURES
from tools.fuzz import read_models, samples
from tools.fuzz.campaign import Worker, fuzz
from tools.fuzz.formats import FORMATS, mutants
from tools.fuzz.reading import SAVED
from tools.fuzz.worker import outcome_of_all

SEED = 2
REAL = ("hef", "har")  # of shared/
APART = ("http", "litert")  # what may print, or die, is read by a process of its own
SLOW = {"keras": 4, "h5": 4, "model": 2, "checkpoint": 2, "run": 15}  # files, where a usual format has 30


def _sealed():
    return {path: path.read_bytes() for path in sorted(SAVED.rglob("*")) if path.is_file()}


SEALED = _sealed()


@pytest.fixture(scope="module", autouse=True)
def _networks_as_before():
    """The tool adds two small networks of its own to the known ones."""
    yield
    for name in ("fuzzed", "fuzzed_system"):
        ARCHITECTURES.pop(name, None)
    read_models._config.cache_clear()
    read_models._system.cache_clear()


@pytest.mark.parametrize("name", [name for name in FORMATS if name not in APART])
def test_damaged_files_of_each_format(name, tmp_path, request):
    """In this process, where the libraries are loaded already."""
    if name in REAL:
        request.getfixturevalue("shared")
    outcomes = {}
    for number, sample in enumerate(itertools.islice(mutants(name, SEED), SLOW.get(name, 30))):
        path = tmp_path / f"{name}-{number}__{sample.name}"
        path.write_bytes(sample.content)
        outcomes[number] = outcome_of_all(name, path)
    assert {
        number: outcome for number, outcome in outcomes.items() if outcome not in ("read", "refused")
    } == {}
    assert _sealed() == SEALED  # nothing was written through a link into tests/saved
    # Behind checksums, too: some are still what they say they are
    assert "read" in outcomes.values() or name in SLOW
    assert "refused" in outcomes.values() or name == "run"


@pytest.mark.parametrize("name", APART)
def test_what_is_read_apart(name, tmp_path):
    with contextlib.closing(Worker()) as worker:
        total = fuzz(name, 30, SEED, tmp_path, worker)
    assert total.faults == {} and min(total.outcomes["read"], total.outcomes["refused"]) > 3


@pytest.mark.parametrize("name", ["npz", "yaml", "csv", "alls", "zip", "manifest", "h5", "model", "drop"])
def test_a_seed_gives_the_same_files(name):
    first, again, other = (list(itertools.islice(mutants(name, seed), 12)) for seed in (1, 1, 2))
    later = list(itertools.islice(mutants(name, 1, first=7), 5))
    assert first == again and first[7:] == later
    assert len({sample.content for sample in first + other}) > 12


def test_no_real_files_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(samples, "SHARED", tmp_path)
    with pytest.raises(UserError, match=r"no hef/\*.hef in .*: set FER_HAILO_SHARED"):
        samples.shared("hef/*.hef")
