"""Join several runs into one model by soft voting."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from fer_hailo.common.errors import UserError
from fer_hailo.deploy.home import Format, Home, Use, resolve, warn_if_drawn


def join(runs: list[str], equal: bool, overrides: dict, out: Path | None) -> Path:
    """Build, save and score the ensemble. Returns its run folder.

    Raises UserError where members know other classes, see other images, or were trained with another split.
    """
    import numpy as np

    from fer_hailo.common.config import save_config
    from fer_hailo.common.files import write_json, write_text, written
    from fer_hailo.common.metrics import softmax
    from fer_hailo.common.runs import CONFIG, ENVIRONMENT, LABELS, MODEL, RUNS, cache_of, environment
    from fer_hailo.training.data.dataset import load_dataset
    from fer_hailo.training.evaluate.score import Scorer
    from fer_hailo.training.fit.lineage import check_lineage
    from fer_hailo.training.fit.outcome import score_run
    from fer_hailo.training.models.build import load_model
    from fer_hailo.training.models.ensemble import build_ensemble, fit_shares

    subjects = members(runs, overrides)
    first = subjects[0].config
    out = out or RUNS / time.strftime("ensemble_%Y%m%d-%H%M%S")
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise UserError(f"{out} is not an empty folder: choose another --out")
    config = first.change(
        arch="ensemble",
        weights="none",
        teacher=tuple(runs),
        views=0,
        targets="",
        fold="",
        input_size=first.face.source_size,
    )
    dataset = load_dataset(config, cache_of(out))
    check_lineage(config, dataset)
    held = dataset.part("val")
    models = [load_model(subject.model) for subject in subjects]
    answers = [
        softmax(Scorer(model, s.config.preprocess).logits(held.images))
        for model, s in zip(models, subjects, strict=True)
    ]
    for place, probabilities in zip(runs, answers, strict=True):
        print(
            f"{place}: {(probabilities.argmax(axis=1) == held.labels).mean():.2%} on validation",
            file=sys.stderr,
        )
    shares = np.full(len(runs), 1 / len(runs)) if equal else fit_shares(np.stack(answers), held.labels)
    print("shares: " + ", ".join(f"{share:.3f}" for share in shares), file=sys.stderr)
    ensemble = build_ensemble(models, shares, config.preprocess)
    out.mkdir(parents=True, exist_ok=True)
    joined = [{"run": place, "share": float(share)} for place, share in zip(runs, shares, strict=True)]
    record = environment() | {
        "data": {"name": dataset.name, "key": dataset.key},
        "members": joined,
        "resumed": [],
    }
    write_json(out / ENVIRONMENT, record)
    write_text(out / LABELS, "\n".join(dataset.names) + "\n")
    save_config(config, out / CONFIG)
    with written(out / MODEL) as beside:
        ensemble.save(beside)
    score_run(
        out, config, dataset, "Validation fitted the shares, so that its own score is a little too good."
    )
    return out


def members(runs: list[str], overrides: dict) -> list[Home]:
    """Models that can answer together.

    Raises UserError for what is no Keras model, knows other classes or sees other images.
    """
    subjects = [resolve(place, Use.LEARN, overrides) for place in runs]
    for subject in subjects:
        warn_if_drawn(subject)
        if subject.format is not Format.KERAS:
            raise UserError(f"{subject.model} is no Keras model: name run folders or .keras files")
        for name in ("classes", "color", "source_size"):
            theirs, others = subject.config.value(name), subjects[0].config.value(name)
            if theirs != others:
                raise UserError(f"{subject.model} has {name} {theirs}, {subjects[0].model} has {others}")
    return subjects
