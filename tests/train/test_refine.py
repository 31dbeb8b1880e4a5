"""Labels refined by models, and the folds by which no image's model has seen its label."""

import json
import shutil
import sys
from dataclasses import replace

import numpy as np
import pytest
from conftest import error_line
from scipy.special import softmax

from fer_hailo.common.config import load_config, save_config
from fer_hailo.common.errors import UserError
from fer_hailo.common.runs import CONFIG, MODEL
from fer_hailo.training.data.dataset import load_dataset
from fer_hailo.training.data.targets import image_digests, read_targets, refined
from fer_hailo.training.evaluate.score import Scorer
from fer_hailo.training.fit.lineage import check_lineage
from fer_hailo.training.models.build import load_model
from fer_hailo.training.refine import refine

STILL = {"flip": False, "zoom": 0, "shift": 0, "rotation": 0, "brightness": 0, "contrast": 0}


@pytest.fixture(scope="module")
def runs(trained, small, tmp_path_factory):
    """Runs that say that each left out one of two folds, and models that name one class whatever they see."""
    folder, found = tmp_path_factory.mktemp("folds"), []
    for number in (1, 2):
        run = shutil.copytree(trained, folder / f"fold{number}", ignore=shutil.ignore_patterns("checkpoint"))
        save_config(load_config(trained / CONFIG).change(fold=f"{number}/2", **STILL), run / CONFIG)
        model = load_model(run / MODEL)
        kernel, _ = model.layers[-1].get_weights()
        model.layers[-1].set_weights([kernel * 0, np.log(np.eye(5)[number] * 0.6 + 0.08)])
        model.save(run / MODEL)
        found.append(str(run))
    return found


@pytest.fixture(scope="module")
def crossed(runs, tmp_path_factory):
    return refine(runs[::-1], True, {}, 1, 0, tmp_path_factory.mktemp("crossed") / "labels.npz")


def test_plain_targets_are_what_the_model_says(trained, small, tmp_path):
    """Of images that are not augmented: its probabilities, whichever order the views had."""
    run = shutil.copytree(trained, tmp_path / "still", ignore=shutil.ignore_patterns("checkpoint"))
    config = small.change(**STILL)
    save_config(config, run / CONFIG)
    file = read_targets(refine([str(run)], False, {}, 2, 7, tmp_path / "labels.npz"))
    train = load_dataset(small, None).train
    assert len(file.digests) == len(np.unique(image_digests(train.images))) and file.made["views"] == 2
    said = softmax(Scorer(load_model(run / MODEL), config.preprocess).logits(train.images), axis=1)
    own = config.change(targets=str(tmp_path / "labels.npz"), targets_weight=1.0)
    mixed, count = refined(train.images, np.eye(5, dtype="f4")[train.labels], own)
    assert count == len(train) and np.ptp(said, axis=0).max() > 0.02
    np.testing.assert_allclose(mixed, said, atol=2e-3)


def test_views_are_augmented_and_seeded(trained, tmp_path):
    first, same, other = (
        read_targets(refine([str(trained)], False, {}, 1, seed, tmp_path / f"{name}.npz"))
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert (first.probabilities == same.probabilities).all()
    assert (first.digests == other.digests).all() and (first.probabilities != other.probabilities).any()


def test_cross_fitted_targets_come_from_the_run_that_left_the_image_out(crossed, small):
    file = read_targets(crossed)
    assert file.made["cross_fitted"] and [model["fold"] for model in file.made["models"]] == ["2/2", "1/2"]
    whole = load_dataset(small, None)
    for number in (1, 2):
        part = load_dataset(small.change(fold=f"{number}/2"), None).left_out
        said = file.probabilities[np.searchsorted(file.digests, image_digests(part.images))]
        np.testing.assert_allclose(said[:, number], 0.68, atol=1e-3)
    assert set(file.digests) == set(image_digests(whole.train.images))  # and none of validation


def test_what_the_file_tells_of_its_making(runs, small, tmp_path, inside, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["refine.py", str(tmp_path / "a" / "RUN"), "--out", "labels.npz"])
    done = inside("fer_hailo.refine", *runs, "--cross-fitted", "--views", 1, "--out", "labels.npz")
    assert done.returncode == 0 and "done: labels.npz, " in done.stderr, done.stderr
    made = read_targets(tmp_path / "labels.npz").made
    assert made["command"][1:] == ["RUN", "--out", "labels.npz"] and str(tmp_path) not in json.dumps(made)
    assert made["split"]["split_seed"] == 42 and made["data"]["key"] == load_dataset(small, None).key


def test_folds_that_are_not_whole(runs, trained, tmp_path):
    out = tmp_path / "labels.npz"
    for models, said in [
        ([str(trained)], "left no fold out"),
        (runs[:1], "no run left fold 2/2 out"),
    ]:
        with pytest.raises(UserError, match=said):
            refine(models, True, {}, 1, 0, out)
    three = shutil.copytree(runs[0], tmp_path / "three")
    save_config(load_config(three / CONFIG).change(fold="3/3"), three / CONFIG)
    with pytest.raises(UserError, match="of 2 and 3 folds"):
        refine([runs[0], str(three)], True, {}, 1, 0, out)
    assert not out.exists()


def test_mistakes_are_one_line(inside, trained, sample_set, tmp_path):
    for arguments, said in [
        ([trained, "--out", "labels.csv"], "must end with .npz"),
        ([trained, "--views", 0, "--out", "labels.npz"], "must be 1 or more"),
        ([tmp_path / "none", "--out", "labels.npz"], "no model at"),
    ]:
        assert said in error_line(inside("fer_hailo.refine", *arguments))
    (tmp_path / "labels.npz").write_text("no targets")
    done = inside("train.py", "--data", sample_set, "--targets", "labels.npz", "--out", "run")
    assert "labels.npz holds no refined labels, or is damaged" in error_line(done)
    assert not (tmp_path / "run").exists()


def test_what_has_learnt_the_labels_of_validation_or_of_the_fold_is_refused(runs, trained, small, crossed):
    whole, part = load_dataset(small, None), load_dataset(small.change(fold="1/2"), None)
    check_lineage(small.change(teacher=(runs[0],)), whole)  # has learnt less
    check_lineage(small.change(fold="1/2", teacher=(runs[0],)), part)
    for source in (str(trained), runs[1]):
        with pytest.raises(UserError, match="with fold (none|2/2), not 1/2: it has learnt"):
            check_lineage(small.change(fold="1/2", teacher=(source,)), part)
    file = str(crossed)
    check_lineage(small.change(targets=file), whole)
    for change in ({"split_seed": 7}, {"fold": "1/2"}):
        with pytest.raises(UserError, match="labels.npz was trained on this data split with"):
            check_lineage(small.change(targets=file, **change), part)
    check_lineage(small.change(targets=file, split_seed=7), replace(whole, key="another data set"))
