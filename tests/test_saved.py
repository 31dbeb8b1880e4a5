"""Files that an earlier version wrote open as they did, and an interrupted run of it goes on
(tests/saved).
"""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT

from fer_hailo.common.files import read_csv
from fer_hailo.deploy.bundle import load_bundle
from fer_hailo.deploy.home import Use, resolve
from fer_hailo.predict.predictor import load

SAVED = ROOT / "tests" / "saved"


@pytest.fixture
def saved(tmp_path, monkeypatch) -> Path:
    """A copy, as the current folder: the configurations name their data from there."""
    import tiny  # noqa: F401, registers the network

    folder = shutil.copytree(SAVED, tmp_path / "saved")
    monkeypatch.chdir(folder)
    return folder


def test_a_run_and_its_bundle_give_the_answers_that_were_kept(saved):
    bundle = load_bundle(saved / "run" / "deploy")
    kept = bundle.evaluation()
    assert kept.logits.shape == (50, 5)
    for name in ("run/best_model_float32.keras", "run/deploy/model_float32.tflite"):
        with load(resolve(name)) as predictor:
            np.testing.assert_allclose(predictor.logits(kept.images), kept.logits, atol=1e-4)
    home = resolve("run", Use.LEARN)
    assert (home.labels, home.spec.input_size, home.config.model.head_units) == (
        tuple(bundle.labels),
        32,
        (16,),
    )


def test_this_projects_own_layers_open():
    """By the names that they are registered under. The numbers are those of the version that saved them."""
    from fer_hailo.training.models.build import load_model

    model = load_model(SAVED / "layers.keras")
    kinds = {type(layer).__name__ for layer in model.layers}
    assert kinds >= {
        "Attention",
        "LayerScale",
        "MeanFirst",
        "Part",
        "Positions",
        "SoftVote",
        "_Compete",
        "_Mean",
        "_SumOfChannels",
    }
    found = model(np.linspace(-1, 1, 64, dtype=np.float32).reshape(2, 4, 8))
    wanted = [[-1.190563, -1.005503, -1.811292, -1.791879], [-1.656639, -1.069019, -1.326156, -1.607541]]
    np.testing.assert_allclose(np.asarray(found), wanted, atol=1e-5)


def test_an_interrupted_run_goes_on(saved):
    """Its optimizer, averages and the method's own state among what is restored: the losses are the whole
    run's.
    """
    from fer_hailo.training.start import resume

    resume(saved / "cut", {})
    assert os.path.isfile(saved / "cut" / "DONE")
    found, whole = (read_csv(saved / "cut" / name) for name in ("history.csv", "whole.csv"))
    for name in ("loss", "val_loss", "learning_rate"):
        assert [float(row[name]) for row in found] == pytest.approx(
            [float(row[name]) for row in whole], rel=1e-4
        )
    assert len(found) == 2
