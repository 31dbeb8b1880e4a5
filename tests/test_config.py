import dataclasses

import pytest

from fer_hailo.common.config import Config, load_config, save_config
from fer_hailo.common.errors import UserError


def write(tmp_path, text):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    return path


def test_defaults_are_the_seed_recipe():
    c = Config()
    assert c.classes == ("angry", "disgust", "happy", "neutral", "surprise")
    assert (c.input_size, c.batch_size, c.seed, c.validation_fraction) == (128, 32, 42, 0.2)
    assert (c.stage1_lr, c.stage1_epochs, c.stage1_patience) == (5e-4, 25, 15)
    assert (c.stage2_lr, c.stage2_floor_lr, c.stage2_epochs, c.stage2_warmup_epochs, c.stage2_patience) == (1e-4, 1e-7, 150, 5, 35)
    assert (c.focal_gamma, c.class_weight_beta, c.mixup_alpha, c.oversample_ratio, c.unfreeze_layers) == (0.5, 0.99, 0.2, 0.6, 60)
    assert c.head_units == (512, 256, 128) and c.head_dropout == (0.5, 0.4, 0.3, 0.2)


def test_every_field_is_documented():
    assert all(len(field.metadata["help"]) > 5 for field in dataclasses.fields(Config))


def test_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().seed = 1


def test_file_overrides_defaults_and_flags_override_the_file(tmp_path):
    path = write(tmp_path, "stage1_lr: 1e-3\nseed: 7\nhead_units: [64]\nhead_dropout: [0.1, 0]\n")
    c = load_config(path, {"seed": "9"})
    assert c.stage1_lr == 1e-3  # YAML itself reads 1e-3 as text
    assert c.seed == 9 and c.head_units == (64,) and c.head_dropout == (0.1, 0.0)


def test_round_trip(tmp_path):
    c = load_config(None, {"classes": "happy,sad,angry", "ema": 0.9})
    save_config(c, tmp_path / "saved.yaml")
    assert load_config(tmp_path / "saved.yaml") == c
    assert c.classes == ("angry", "happy", "sad")


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

    files = sorted((ROOT / "configs").glob("*.yaml"))
    assert {file.stem for file in files} >= {"demo", "finetune", "smoke"}
    assert all(load_config(file) != Config() for file in files)


def test_a_networks_recipe_stands_below_file_and_flags(tmp_path):
    (tmp_path / "resnet18.yaml").write_text("weights: none\nema: 0.5\nbatch_size: 64\n")
    file = write(tmp_path, "ema: 0.6\narch: resnet18\n")
    config = load_config(file, {"batch_size": "16"}, tmp_path)
    assert (config.weights, config.ema, config.batch_size) == ("none", 0.6, 16)
    assert load_config(None, {"arch": "vgg19"}, tmp_path) == load_config(None, {"arch": "vgg19"})  # no recipe
    (tmp_path / "vgg19.yaml").write_text("emma: 1\n")
    with pytest.raises(UserError, match="did you mean ema.* in .*vgg19.yaml"):
        load_config(None, {"arch": "vgg19"}, tmp_path)


def test_a_run_of_the_time_of_one_seed_keeps_its_split(tmp_path):
    (tmp_path / "config.yaml").write_text("seed: 7\n")
    assert load_config(tmp_path / "config.yaml").split_seed == 7
    (tmp_path / "config.yaml").write_text("seed: 7\nsplit_seed: 42\n")
    assert load_config(tmp_path / "config.yaml").split_seed == 42
    assert load_config(write(tmp_path, "seed: 7")).split_seed == 42  # a recipe
