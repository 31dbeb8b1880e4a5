"""A run of several steps: in order, each from the model of the one before; cut and resumed; what is
refused.
"""

import json
import shutil

import keras
import numpy as np
import pytest
import yaml
from conftest import ROOT, SMALL, error_line

from fer_hailo.common.config import load_config
from fer_hailo.common.errors import UserError
from fer_hailo.common.files import read_csv
from fer_hailo.common.resources import recipes
from fer_hailo.common.runs import CONFIG, DONE, MODEL, STEPS, cache_of, newest_run
from fer_hailo.common.steps import in_folders, load_steps, save_steps
from fer_hailo.training.fit import callbacks, loop
from fer_hailo.training.start import resume, start_steps

pytestmark = pytest.mark.usefixtures("undrawn")
RUN = "20260101-000000_tiny_s42"
RECIPE = {
    **SMALL, "tensorboard": False, "stage2_epochs": 1, "stage2_warmup_epochs": 0,
    "steps": [
        {"stage1_lr": 0.002, "input_size": 32},
        {"stage1_epochs": 0, "stage2_epochs": 2, "input_size": 40, "stage2_lr": 0.003},
    ],
}  # fmt: skip


def write(folder, recipe):
    path = folder / "steps_recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return path


@pytest.fixture(scope="module")
def recipe(sample_set, tmp_path_factory):
    """Two steps on the sample set."""
    import tiny  # noqa: F401, registers the network

    return write(tmp_path_factory.mktemp("recipe"), RECIPE | {"data": str(sample_set)})


@pytest.fixture(scope="module")
def looked(recipe, tmp_path_factory):
    """The complete run of `recipe`, and (input size, stage, weights) before the first update of each
    stage.
    """
    seen, train = [], loop.Run._train

    def look(self, stage, tensorboard):
        seen.append((self.config.face.input_size, stage, [np.array(w) for w in self.export.get_weights()]))
        train(self, stage, tensorboard)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop.Run, "_train", look)
        return start_steps(load_steps(recipe), tmp_path_factory.mktemp("whole") / RUN), seen


@pytest.fixture(scope="module")
def whole(looked):
    """The complete run of `recipe`. Do not change it."""
    return looked[0]


def history(run):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in read_csv(run / "history.csv")]


def weights(run):
    return keras.models.load_model(run / MODEL).get_weights()


def same(run, other):
    equal = all((a == b).all() for a, b in zip(weights(run), weights(other), strict=True))
    return equal and history(run) == history(other)


def test_released_recipe_is_what_the_three_commands_train():
    steps = load_steps(ROOT / "configs" / "released.yaml", None, recipes())
    for step, name in zip(steps, ("finetune", "best_128", "best"), strict=True):
        own = load_config(ROOT / "configs" / f"{name}.yaml", None, recipes()).to_dict()
        assert step.to_dict() | {"weights": ""} == own | {"weights": ""}
    assert steps[0].model.weights == "imagenet" and [step.face.input_size for step in steps] == [96, 128, 160]


def test_steps_run_in_order_with_their_own_sizes_and_rates(whole):
    first = whole / "step1_32px"
    assert [(row["stage"], row["epoch"]) for row in history(first)] == [("1", "1"), ("2", "1")]
    assert [(row["stage"], row["epoch"]) for row in history(whole)] == [("2", "1"), ("2", "2")]
    assert float(history(first)[0]["learning_rate"]) == pytest.approx(0.002, rel=0.01)
    assert float(history(whole)[-1]["learning_rate"]) == pytest.approx(1e-7, rel=0.01)
    for folder, side in ((first, 32), (whole, 40)):
        assert keras.models.load_model(folder / MODEL).input_shape == (None, side, side, 3)
        assert load_config(folder / CONFIG).face.input_size == side and (folder / DONE).exists()
    assert load_config(whole / CONFIG).model.weights == str(first / MODEL)
    assert [row["run"] for row in read_csv(whole.parent / "results.csv")] == [RUN] * 2
    assert newest_run(True, whole.parent) == whole


def test_a_step_is_what_a_run_from_that_model_alone_is(whole, tmp_path):
    """As one command a step, with the model of the step before as its weights: the same to the bit."""
    alone = loop.start(load_config(whole / CONFIG), tmp_path / "alone")
    assert same(alone, whole)


def test_the_second_step_starts_from_the_model_of_the_first(looked):
    """Before its first update every kernel is the saved one, although the input is larger now."""
    run, seen = looked
    assert [(size, stage) for size, stage, _ in seen] == [(32, 1), (32, 2), (40, 2)]
    before = weights(run / "step1_32px")
    assert len(before) > 10 and all((a == b).all() for a, b in zip(seen[-1][2], before, strict=True))
    assert any((a != b).any() for a, b in zip(before, weights(run), strict=True))


@pytest.mark.parametrize(("size", "epoch"), [pytest.param(32, 1, marks=pytest.mark.slow), (40, 1)])
def test_cut_in_either_step_and_resumed_it_is_the_whole_run(
    recipe, whole, tmp_path, monkeypatch, size, epoch
):
    run = tmp_path / "fer2013_keras_hailo" / RUN
    told = callbacks.SaveState.on_epoch_end

    def stop(self, epochs, logs=None):
        told(self, epochs, logs)
        if self.export.input_shape[1] == size and epochs + 1 == epoch:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(callbacks.SaveState, "on_epoch_end", stop)
        with pytest.raises(KeyboardInterrupt, match=f"--resume {run}$"):
            start_steps(load_steps(recipe), run)
    assert not (run / DONE).exists() and (run / "step1_32px" / DONE).exists() == (size == 40)
    assert newest_run(False, run.parent) == run
    # Weights are found where the run lies now
    run = run.rename(run.with_name(RUN.replace("000000", "000001")))
    resume(run, {"seed": "42"})
    assert same(run / "step1_32px", whole / "step1_32px") and same(run, whole)


@pytest.mark.slow
def test_cut_between_two_steps(recipe, whole, tmp_path):
    """The first is complete, of the second there is a folder without its configuration."""
    run = shutil.copytree(whole, tmp_path / RUN)
    for path in run.iterdir():
        if path.name not in ("step1_32px", STEPS, "environment.json"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    resume(run, {})
    assert same(run, whole) and (run / DONE).exists()


def test_the_command_and_its_flags(recipe, whole, inside, tmp_path):
    model = whole / "step1_32px" / MODEL
    done = inside("train.py", "--config", recipe, "--out", "run", "--batch-size", 16, "--weights", model)
    assert done.returncode == 0, done.stderr
    assert "step 2 of 2, at 40 px: run" in done.stderr
    first, second = (load_config(tmp_path / "run" / name / CONFIG) for name in ("step1_32px", ""))
    assert (first.optimiser.batch_size, second.optimiser.batch_size) == (16, 16)
    assert (first.model.weights, second.model.weights) == (str(model), "run/step1_32px/" + MODEL)


def test_a_run_on_all_of_train_repeats_every_step(whole, inside, tmp_path):
    done = inside("train.py", "--selected-by", whole, "--out", "all")
    assert done.returncode == 0, done.stderr
    for name in ("step1_32px", "."):
        own, kept = tmp_path / "all" / name, read_csv(whole / name / "history.csv")
        config, best = load_config(own / CONFIG), max(kept, key=lambda row: float(row["val_accuracy"]))
        assert config.data.validation_fraction == 0 and config.data.selected_by == str(whole / name)
        assert [(row["stage"], row["epoch"]) for row in history(own)][-1] == (best["stage"], best["epoch"])
    assert load_config(tmp_path / "all" / CONFIG).model.weights == "all/step1_32px/" + MODEL
    assert json.loads((tmp_path / "all/selection.json").read_text())["name"] == RUN


def test_steps_are_read_as_they_were_written(recipe, tmp_path):
    steps = load_steps(recipe, {"seed": "7", "weights": "a.h5"})
    assert [(step.seed, step.model.weights) for step in steps] == [(7, "a.h5"), (7, "none")]
    save_steps(steps, tmp_path / STEPS)
    assert in_folders(load_steps(tmp_path / STEPS), tmp_path) == in_folders(steps, tmp_path)
    assert load_steps(None) == load_steps(ROOT / "configs" / "finetune.yaml") == ()


def test_a_step_shares_the_decoded_data_of_its_run(tmp_path):
    run = tmp_path / RUN
    run.mkdir()
    (run / STEPS).touch()
    assert cache_of(run / "step1_32px") == cache_of(run) == tmp_path / "cache"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"steps": []}, "must list two or more recipes"),
        ({"steps": "finetune.yaml"}, "must list two or more recipes"),
        ({"steps": [{}, 3]}, "step 2 of .* must be the path of a recipe or 'key: value' lines, got 3"),
        ({"steps": [{}, "nothing.yaml"]}, "nothing.yaml"),
        ({"steps": [{}, "steps_recipe.yaml"]}, "is a recipe of several steps, no single configuration"),
        ({"steps": [{}, {"steps": []}]}, "unknown configuration key 'steps'"),
        (
            {"steps": [{}, {"weights": "none"}]},
            "step 2 of .* has weights, but it starts from the model of step 1",
        ),
        ({"steps": [{}, {"stage2_lr": "fast"}]}, "step 2 of .*: stage2_lr must be float"),
        ({"steps": [{"ema_": 1}, {}]}, "did you mean ema"),
        ({"steps": [{}, {"split_seed": 7}]}, "step 2 of .* splits .* with split_seed 7, step 1 with 42"),
        ({"steps": [{}, {}, {"classes": ["angry", "happy"]}]}, "step 3 of .* with classes"),
        ({"steps": [{}, {"quantise": "RUN"}]}, "step 2 of .* has quantise"),
        (
            {"base": str(ROOT / "configs" / "released.yaml"), "steps": [{}, {}]},
            "is a recipe of several steps",
        ),
    ],
)
def test_mistakes_in_the_recipe_are_named(tmp_path, changes, said):
    with pytest.raises(UserError, match=said) as error:
        load_steps(write(tmp_path, changes))
    assert "\n" not in str(error.value)


def test_steps_may_learn_from_different_data(recipe, tmp_path, sample_set):
    path = write(tmp_path, {"steps": [{"data": "other", "split_seed": 7}, {"data": str(sample_set)}]})
    assert [step.data.source for step in load_steps(path)] == ["other", str(sample_set)]
    save_steps(load_steps(path), tmp_path / STEPS)
    with pytest.raises(UserError, match="learn from different data, which one --data cannot name"):
        resume(tmp_path, {"data": "moved"})


def test_mistakes_are_one_line_and_leave_nothing(recipe, whole, inside, tmp_path):
    for arguments, said in [
        (["--data", "nowhere"], "no data at nowhere"),
        (["--arch", "tinny"], "unknown arch 'tinny'"),
        (["--weights", "no.h5"], "no weights at no.h5"),
        (["--stage1-epochs", "0", "--stage2-epochs", "0"], "nothing would be trained"),
        (["--teacher", "nobody"], "nobody"),
        (["--votes", "votes.csv"], "votes.csv"),
        (["--selected-by", whole], "selected_by takes the settings of another run"),
        (["--quantise", whole], "quantise takes the settings of another run"),
    ]:
        assert said in error_line(inside("train.py", "--config", recipe, "--out", "new", *arguments))
        assert not (tmp_path / "new").exists()
    assert "is not an empty folder" in error_line(inside("train.py", "--config", recipe, "--out", whole))
    assert "is complete" in error_line(inside("train.py", "--resume", whole))
    changed = inside("train.py", "--resume", whole, "--stage2-lr", "0.1")
    assert "was trained with stage2_lr 0.0001, not 0.1" in error_line(changed)
    part = shutil.copytree(whole, tmp_path / "part", ignore=shutil.ignore_patterns(DONE))
    assert "train it to its end first" in error_line(
        inside("train.py", "--selected-by", part, "--out", "new")
    )
    (part / STEPS).write_text("")
    assert "lists no steps" in error_line(inside("train.py", "--resume", part))
    assert not (tmp_path / "new").exists()


def test_what_a_later_step_lacks_is_told_before_the_first(tmp_path, sample_set):
    path = write(tmp_path, RECIPE | {"data": str(sample_set), "steps": [{}, {"teacher": ["nobody"]}]})
    with pytest.raises(UserError, match="nobody"):
        start_steps(load_steps(path), tmp_path / "run")
    assert not (tmp_path / "run").exists()
