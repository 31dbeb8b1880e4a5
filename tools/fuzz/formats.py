"""What is fuzzed: for each format its whole files, how they are damaged inside, and who reads them."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from tools.fuzz import http, read_data, read_media, read_models, read_records, samples, texts
from tools.fuzz.chunks import png_mutant
from tools.fuzz.h5 import h5_mutant, model_mutant
from tools.fuzz.har import har_mutant
from tools.fuzz.hef import hef_mutant
from tools.fuzz.mutate import Rng, damaged, lines_mutant
from tools.fuzz.reading import Reader
from tools.fuzz.samples import Sample
from tools.fuzz.values import strange_json
from tools.fuzz.zips import npy_mutant, zip_mutant


@dataclass(frozen=True)
class Format:
    """samples: gives whole files. readers: each describes a file, or raises UserError.

    rebuilt: a mutant of a sample whose sizes and checksums fit. drawn: gives a strategy of texts, which take
    the place of a third of the mutants. named: a refusal names the file; else it may name what is in it.
    limit: how the faults begin that are known and stated (docs/fuzzing.md), and cannot be mended here.
    """

    samples: Callable[[], Sequence[Sample]]
    readers: tuple[Reader, ...]
    rebuilt: Callable[[bytes, Rng], bytes] | None = None
    drawn: Callable[[], texts.Text] | None = None
    named: bool = True
    limit: str = "-"


def tables() -> texts.Text:
    return texts.tables(samples.CSV_COLUMNS)


def record_mutant(content: bytes, rng: Rng) -> bytes:
    """Of a run's file: a state is a zip, other files are JSON or lines."""
    if content.startswith(b"PK"):
        return zip_mutant(content, rng)
    changed = strange_json(content, rng)
    return changed if changed != content else rng.choice([b"", b"null", b"[]", b"7", damaged(content, rng)])


FORMATS = {
    "hef": Format(lambda: samples.shared("hef/*.hef"), (read_models.hef, read_models.detector), hef_mutant),
    "har": Format(lambda: samples.shared("har/*.har"), (read_models.har,), har_mutant),
    "tflite": Format(
        lambda: samples.files("run/deploy/*.tflite", top=samples.SAVED),
        (read_models.tables, read_models.graph, read_models.described),
        named=False,
    ),
    "litert": Format(
        lambda: samples.files("run/deploy/*.tflite", top=samples.SAVED),
        (read_models.interpreted,),
        limit="the process died",
    ),
    "keras": Format(
        lambda: samples.files("run/*.keras", "layers.keras", top=samples.SAVED),
        (read_models.keras,),
        zip_mutant,
    ),
    "h5": Format(samples.weights, (read_models.weights,), h5_mutant),
    "model": Format(
        samples.whole_models, (read_models.keras, read_models.scored), model_mutant, limit="it takes "
    ),
    "pth": Format(
        lambda: samples.files("tests/models/checkpoints/*.pth"),
        (read_models.tensors,),
        zip_mutant,
    ),
    "checkpoint": Format(
        lambda: samples.files("tests/models/checkpoints/*.pth"),
        (read_models.scored,),
        zip_mutant,
    ),
    "npz": Format(
        samples.arrays,
        (read_models.tensors, read_data.cache, read_data.targets, read_data.answers),
        zip_mutant,
    ),
    "npy": Format(
        lambda: samples.files("data/*.npy", top=samples.SAVED), (read_data.cached_images,), npy_mutant
    ),
    "bundle": Format(
        lambda: samples.inside("run/deploy", "*.np[yz]", "*.tflite", "labels.txt"),
        (read_records.member,),
        named=False,
    ),
    "manifest": Format(
        lambda: samples.inside("run/deploy", "manifest.json"),
        (read_records.manifest, read_records.home),
        strange_json,
        named=False,
    ),
    "run": Format(
        lambda: samples.inside("", "run/*.*", "cut/*.*", "cut/checkpoint/*"),
        (read_records.run, read_records.selected, read_records.history, read_records.resumed),
        record_mutant,
        named=False,
    ),
    "yaml": Format(
        lambda: samples.files("configs/**/*.yaml", "tests/saved/*/config.yaml"),
        (read_records.recipe, read_records.steps, read_records.experiment),
        drawn=texts.recipes,
        named=False,
    ),
    "alls": Format(lambda: samples.files("alls/*.alls"), (read_records.script,), drawn=texts.scripts),
    "csv": Format(
        samples.tables,
        (read_data.data_set, read_data.votes, read_data.results, read_data.listed),
        drawn=tables,
    ),
    "drop": Format(samples.drops, (read_data.dropped,), lines_mutant),
    "zip": Format(samples.data_sets, (read_data.data_set,), zip_mutant),
    "jpeg": Format(samples.jpegs, (read_media.shots, read_media.decoded, read_media.by_opencv)),
    "png": Format(samples.pngs, (read_media.shots, read_media.decoded, read_media.by_opencv), png_mutant),
    "mp4": Format(samples.videos, (read_media.shots,)),
    "http": Format(samples.http, (http.answered,), http.http_mutant),
}  # fmt: skip


def mutants(name: str, seed: int, first: int = 0) -> Iterator[Sample]:
    """Damaged files of a format from number `first` on, without end, the same ones for a seed."""
    format, whole = FORMATS[name], _whole(name)
    drawn = _drawn(name, seed)
    number = first
    while True:
        rng = random.Random(f"{name} {seed} {number}")
        sample, other = rng.choice(whole), rng.choice(whole).content
        content = damaged(sample.content, rng, other)
        if format.drawn and number % 3 == 0:
            content = drawn(number // 3)
        elif format.rebuilt and number % 2 == 0:
            content = format.rebuilt(sample.content, rng)
        yield Sample(sample.name, content)
        number += 1


def whole(name: str) -> Sample:
    """A whole file of a format."""
    return _whole(name)[0]


@functools.cache
def _whole(name: str) -> Sequence[Sample]:
    return FORMATS[name].samples()


def _drawn(name: str, seed: int) -> Callable[[int], bytes]:
    """By number, the texts that a format's strategy gives, block by block."""
    strategy = FORMATS[name].drawn

    @functools.lru_cache(2)
    def block(number: int) -> list[bytes]:
        assert strategy
        return texts.drawn(strategy(), texts.BLOCK, seed * 1_000_003 + number)

    def text(number: int) -> bytes:
        found = block(number // texts.BLOCK)
        return found[number % texts.BLOCK % len(found)]

    return text
