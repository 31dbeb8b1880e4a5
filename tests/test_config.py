import dataclasses

import pytest

from fer_hailo.common.config import Config, config_values, load_config, save_config
from fer_hailo.common.errors import UserError
from fer_hailo.common.groups import Augmentation, Data, Face, Loss, Model, Optimiser, Schedule
from fer_hailo.common.resources import recipes
from fer_hailo.common.steps import load_steps

GROUPS = (Data, Face, Model, Loss, Augmentation, Optimiser, Schedule)


def write(tmp_path, text):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    return path


def test_defaults_are_the_seed_recipe():
    c = Config()
    assert c.data.classes == ("angry", "disgust", "happy", "neutral", "surprise")
    assert (c.face.input_size, c.optimiser.batch_size, c.seed, c.data.validation_fraction) == (
        128,
        32,
        42,
        0.2,
    )
    assert (c.schedule.stage1_lr, c.schedule.stage1_epochs, c.schedule.stage1_patience) == (5e-4, 25, 15)
    assert (
        c.schedule.stage2_lr,
        c.schedule.stage2_floor_lr,
        c.schedule.stage2_epochs,
        c.schedule.stage2_warmup_epochs,
        c.schedule.stage2_patience,
    ) == (1e-4, 1e-7, 150, 5, 35)
    assert (
        c.loss.focal_gamma,
        c.loss.class_weight_beta,
        c.augmentation.mixup_alpha,
        c.data.oversample_ratio,
        c.schedule.unfreeze_layers,
    ) == (0.5, 0.99, 0.2, 0.6, 60)
    assert c.model.head_units == (512, 256, 128) and c.model.head_dropout == (0.5, 0.4, 0.3, 0.2)


def test_every_field_is_documented():
    options = [field for group in GROUPS for field in dataclasses.fields(group)]
    assert len(options) > 60 and all(len(field.metadata["help"]) > 5 for field in options)
    assert all(group.__doc__ for group in GROUPS)


def test_keys_are_flat_whatever_the_group():
    c = Config.of(data="d", arch="dan", optimizer="sgd", seed=3)
    assert (c.data.source, c.model.arch, c.optimiser.name, c.seed) == ("d", "dan", "sgd", 3)
    assert [c.value(key) for key in ("data", "arch", "optimizer", "seed")] == ["d", "dan", "sgd", 3]
    flat = c.to_dict()
    assert {type(value) for value in flat.values()} <= {str, int, float, bool, list} and Config.of(
        **flat
    ) == c
    changed = c.change(zoom=0.5, classes=("b", "a"))
    assert (changed.augmentation.zoom, changed.data.classes, changed.model) == (0.5, ("a", "b"), c.model)
    with pytest.raises(UserError, match="unknown configuration key 'zom'.*zoom"):
        c.change(zom=0.5)
    with pytest.raises(UserError, match="weight_decay 0.1 has no effect with adam"):
        c.change(optimizer="adam", weight_decay=0.1)


def test_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().seed = 1


def test_file_overrides_defaults_and_flags_override_the_file(tmp_path):
    path = write(tmp_path, "stage1_lr: 1e-3\nseed: 7\nhead_units: [64]\nhead_dropout: [0.1, 0]\n")
    c = load_config(path, {"seed": "9"})
    assert c.schedule.stage1_lr == 1e-3  # YAML itself reads 1e-3 as text
    assert c.seed == 9 and c.model.head_units == (64,) and c.model.head_dropout == (0.1, 0.0)


def test_round_trip(tmp_path):
    c = load_config(None, {"classes": "happy,sad,angry", "ema": 0.9})
    save_config(c, tmp_path / "saved.yaml")
    assert load_config(tmp_path / "saved.yaml") == c
    assert c.data.classes == ("angry", "happy", "sad")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("stge1_lr: 1", "stage1_lr"),
        ("optimizer: adma", "did you mean adam?"),
        ("zoom: 1.5", "nearest valid value is 0.9"),
        ("seed: -1", "nearest valid value is 0"),
        ("seed: 1.5", "seed must be int"),
        ("flip: 1", "flip must be bool"),
        ("seed: true", "seed must be int"),
        ("stage1_lr: fast", "stage1_lr must be float"),
        ("stage1_lr: .nan", "stage1_lr must be float"),
        ("classes: [angry]", "two or more"),
        ("head_dropout: [0.5]", "head_dropout needs 4 values"),
        ("stage2_epochs: 3", "stage2_warmup_epochs 5 must be below"),
        ("stage1_epochs: 0\nstage2_epochs: 0", "nothing would be trained"),
        ("weight_decay: 0.1", "use optimizer adamw"),
        ("- a", "key: value"),
        ("a: [", "not YAML"),
    ],
)
def test_mistakes_are_named(tmp_path, text, said):
    with pytest.raises(UserError) as error:
        load_config(write(tmp_path, text))
    assert said in str(error.value) and "\n" not in str(error.value)


def test_configs_of_the_repository_are_valid():
    from conftest import ROOT

    files = {file.stem: file for file in (ROOT / "configs").glob("*.yaml")}
    assert set(files) >= {"demo", "finetune", "smoke", "seed"}
    for several in ("released", "student"):
        assert len(load_steps(files.pop(several))) > 1
    assert {name for name, file in files.items() if load_config(file) == Config()} == {"seed"}
    stated = [line.split(":")[0] for line in files["seed"].read_text().splitlines() if line[0] not in "#-"]
    assert stated == list(Config().to_dict())  # all of it, in the order of the help


def recipe(folder, name: str, text: str) -> None:
    """Write the recipe of a network."""
    (folder / name).mkdir()
    (folder / name / "recipe.yaml").write_text(text)


def test_a_recipe_goes_over_its_base(tmp_path):
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "low.yaml").write_text("ema: 0.5\nzoom: 0.1\nshift: 0.1\n")
    (tmp_path / "base" / "high.yaml").write_text("base: low.yaml\nzoom: 0.2\n")
    file = write(tmp_path, "base: base/high.yaml\nshift: 0.3\n")
    assert config_values(file) == {"ema": 0.5, "zoom": 0.2, "shift": 0.3}
    recipe(tmp_path, "vgg19", "base: ../base/high.yaml\nema: 0.6\n")
    config = load_config(None, {"arch": "vgg19", "shift": 0.4}, tmp_path)
    assert (config.optimiser.ema, config.augmentation.zoom, config.augmentation.shift) == (0.6, 0.2, 0.4)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("base: b.yaml", "c.yaml is its own base, by way of b.yaml"),
        ("base: nothing.yaml", "nothing.yaml"),
        ("base: [b.yaml]", "must name a recipe, got"),
        ("base: wrong.yaml", "did you mean ema.* in .*wrong.yaml"),
    ],
)
def test_a_base_that_cannot_be(tmp_path, text, said):
    (tmp_path / "b.yaml").write_text("base: c.yaml\n")
    (tmp_path / "wrong.yaml").write_text("emma: 1\n")
    with pytest.raises(UserError, match=said):
        load_config(write(tmp_path, text))


def test_a_base_of_the_librarys_own(tmp_path):
    """It is named as in the repository; what lies beside the recipe goes first."""
    file = write(tmp_path, "base: configs/base/whole.yaml\nema: 0.5\n")
    assert config_values(file)["oversample_ratio"] == 0.3 and config_values(file)["ema"] == 0.5
    (tmp_path / "configs" / "base").mkdir(parents=True)
    (tmp_path / "configs" / "base" / "whole.yaml").write_text("zoom: 0.3\n")
    assert config_values(file) == {"zoom": 0.3, "ema": 0.5}


def test_recipes_by_hand():
    """What recipes said before they had bases, of two that have two levels of them."""
    from conftest import ROOT

    twin = config_values(ROOT / "configs" / "twin.yaml")
    assert (
        twin.pop("teacher") == ["released:mobilenet_v3_small"]
        and twin.pop("weights") == "released:mobilenet_v3_small"
    )
    assert twin == {
        "arch": "mobilenet_v3_small_minimalistic", "temperature": 2,
        "distill_weight": 0.7,
        "extra_classes": ["fear", "sad"],
        "votes": "fer2013/ferplus_votes.csv", "votes_weight": 0.5, "input_size": 160,
        "unfreeze_layers": -1,
        "train_batch_norm": True,
        "batch_norm_momentum": 0.97, "ema": 0.998, "head_units": [256],
        "head_dropout": [0.2, 0.2],
        "head_l2": 0, "optimizer": "adamw",
        "weight_decay": 0.05, "batch_size": 128, "stage1_epochs": 0,
        "stage2_epochs": 12,
        "stage2_warmup_epochs": 1, "stage2_lr": 0.0015,
        "focal_gamma": 0, "class_weight_beta": 0, "oversample_ratio": 0.3,
        "mixup_alpha": 0.3,
        "mixup_share": 0.5, "shift": 0.08,
        "rotation": 12, "zoom": 0.2,
    }  # fmt: skip
    assert config_values(recipes() / "densenet121" / "recipe.yaml") == {
        "input_size": 96, "optimizer": "adamw", "weight_decay": 0.05, "batch_size": 64,
        "stage1_epochs": 2,
        "stage1_lr": 0.001,
        "stage2_epochs": 24, "stage2_warmup_epochs": 2, "stage2_lr": 0.0005,
        "unfreeze_layers": -1,
        "train_batch_norm": True,
        "batch_norm_momentum": 0.97, "ema": 0.998, "head_units": [], "head_dropout": [0.3],
        "head_l2": 0,
        "focal_gamma": 0,
        "class_weight_beta": 0, "oversample_ratio": 0.3, "mixup_share": 0.5, "shift": 0.05, "rotation": 10,
    }  # fmt: skip


def test_a_networks_recipe_stands_below_file_and_flags(tmp_path):
    recipe(tmp_path, "resnet18", "weights: none\nema: 0.5\nbatch_size: 64\n")
    file = write(tmp_path, "ema: 0.6\narch: resnet18\n")
    config = load_config(file, {"batch_size": "16"}, tmp_path)
    assert (config.model.weights, config.optimiser.ema, config.optimiser.batch_size) == ("none", 0.6, 16)
    assert load_config(None, {"arch": "vgg19"}, tmp_path) == load_config(None, {"arch": "vgg19"})  # no recipe
    recipe(tmp_path, "vgg19", "emma: 1\n")
    with pytest.raises(UserError, match="did you mean ema.* in .*vgg19/recipe.yaml"):
        load_config(None, {"arch": "vgg19"}, tmp_path)


def test_a_run_of_the_time_of_one_seed_keeps_its_split(tmp_path):
    (tmp_path / "config.yaml").write_text("seed: 7\n")
    assert load_config(tmp_path / "config.yaml").data.split_seed == 7
    (tmp_path / "config.yaml").write_text("seed: 7\nsplit_seed: 42\n")
    assert load_config(tmp_path / "config.yaml").data.split_seed == 42
    assert load_config(write(tmp_path, "seed: 7")).data.split_seed == 42  # a recipe
