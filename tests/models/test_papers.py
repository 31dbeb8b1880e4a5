"""The recipes of the papers' data sets, and the papers' options."""

import functools
import importlib

import numpy as np
import pytest
from conftest import ROOT
from keras import ops

from fer_hailo.common.config import Config, load_config
from fer_hailo.common.errors import UserError
from fer_hailo.common.resources import recipes
from fer_hailo.training.models.build import build_model
from fer_hailo.training.networks.dan import loss as dan_loss
from fer_hailo.training.networks.ddamfn import loss as ddamfn_loss
from fer_hailo.training.networks.registry import network

# Data set, classes, sampling; optimizer, radius of SAM, batch, epochs, rate, its factor and the epochs
# between, by the official scripts and their README
RECIPES = {
    "ada_df_affectnet7": ("affectnet", 7, "balanced", "adam", 0, 64, 75, 1e-3, 0.9, 1),
    "ada_df_raf_db": ("raf-db", 7, "each", "adam", 0, 64, 75, 1e-3, 0.9, 1),
    "ada_df_sfew": ("sfew", 7, "each", "adam", 0, 16, 75, 1e-3, 0.9, 1),
    "dan_affectnet7": ("affectnet", 7, "balanced", "adam", 0, 256, 10, 1e-4, 0.6, 1),
    "dan_affectnet8": ("affectnet", 8, "balanced", "adam", 0, 256, 10, 1e-4, 0.6, 1),
    "dan_raf_db": ("raf-db", 7, "each", "sgd", 0, 256, 40, 0.1, 0.1, 10),
    "ddamfn_affectnet7": ("affectnet", 7, "balanced", "adam", 0, 256, 40, 1e-4, 0.6, 1),
    "ddamfn_affectnet8": ("affectnet", 8, "balanced", "adam", 0, 256, 40, 1e-4, 0.6, 1),
    "ddamfn_ferplus": ("ferplus", 8, "each", "sgd", 0, 256, 80, 0.01, 0.1, 10),
    "ddamfn_plus_raf_db": ("raf-db", 7, "each", "adam", 0.05, 128, 60, 5e-4, 0.9, 1),
    "ddamfn_raf_db": ("raf-db", 7, "each", "sgd", 0, 256, 40, 0.01, 0.1, 10),
    "lnsu_raf_db": ("raf-db", 7, "each", "adamw", 0, 128, 24, 1.25e-4, 0.1, 10),
    "poster_affectnet7": ("affectnet", 7, "balanced", "adam", 0.05, 200, 300, 2e-6, 0.98, 1),
    "poster_affectnet8": ("affectnet", 8, "balanced", "adam", 0.05, 200, 300, 2e-6, 0.98, 1),
    "poster_raf_db": ("raf-db", 7, "each", "adam", 0.05, 200, 300, 4e-5, 0.98, 1),
    "poster_v2_affectnet7": ("affectnet", 7, "balanced", "adam", 0.05, 144, 200, 1e-6, 0.98, 1),
    "poster_v2_affectnet8": ("affectnet", 8, "balanced", "adam", 0.05, 144, 200, 1e-6, 0.98, 1),
    "poster_v2_caer_s": ("caer-s", 7, "each", "adam", 0.05, 144, 200, 4e-5, 0.98, 1),
    "poster_v2_raf_db": ("raf-db", 7, "each", "adam", 0.05, 144, 200, 3.5e-5, 0.98, 1),
}


def test_no_recipe_is_left_out():
    assert {path.stem for path in (ROOT / "configs" / "papers").glob("*.yaml")} == set(RECIPES)


@pytest.mark.parametrize("name", RECIPES)
def test_it_says_what_the_paper_does_and_builds(name):
    config = load_config(ROOT / "configs" / "papers" / f"{name}.yaml", None, recipes())
    data, optimiser, schedule = config.data, config.optimiser, config.schedule
    assert RECIPES[name] == (
        data.source, len(data.classes), data.sampling, optimiser.name, optimiser.sam_rho,
        optimiser.batch_size, schedule.stage2_epochs, schedule.stage2_lr, schedule.stage2_decay,
        schedule.stage2_decay_epochs,
    )  # fmt: skip
    assert config.model.arch == "mobilenet_v3_small" or name.startswith(config.model.arch)
    assert outputs(config.model.arch, config.loss.method, data.classes) == len(data.classes)


@functools.cache
def outputs(arch: str, method: str, classes: tuple[str, ...]) -> int:
    """Of the network that trains, small; recipes that differ in none of these build the same."""
    with pytest.MonkeyPatch.context() as patch:
        if arch != "mobilenet_v3_small":  # which is small
            importlib.import_module(f"fer_hailo.training.networks.{arch}.test_network").shrink(patch)
        head = {"head_units": (), "head_dropout": (0.0,)}
        config = Config.of(arch=arch, method=method, classes=classes, input_size=32, **head)
        return build_model(config, weights="none", training=True).outputs[0].shape[-1]


def test_dans_heads(monkeypatch):
    importlib.import_module("fer_hailo.training.networks.dan.test_network").shrink(monkeypatch)
    config = Config.of(arch="dan", weights="none", input_size=32, dan_heads=3)
    model = build_model(config)
    assert model.get_layer("heads").output.shape[1] == 3
    heads = {layer.name.split("-")[0] for layer in model.layers if layer.name.startswith("cat_head")}
    assert heads == {"cat_head0", "cat_head1", "cat_head2"}
    with pytest.raises(UserError, match="dan_heads must be 2 or more, got 1"):
        Config.of(dan_heads=1)


def test_the_weights_of_dans_losses():
    """The layer adds both, times their weights."""
    rng = np.random.default_rng(0)
    logits, features, heads = (
        rng.normal(size=shape).astype("f4") for shape in ((4, 3), (4, 2, 2, 5), (4, 2, 5))
    )
    targets = np.eye(3, dtype="f4")[[0, 1, 2, 0]]
    for near, apart in ((1, 1), (0.25, 3), (0, 1)):
        layer = dan_loss.Differences(near, apart)
        layer(logits, features, heads, targets)
        pooled = features.mean(axis=(1, 2))
        wanted = near * float(dan_loss.affinity(pooled, ops.convert_to_tensor(layer.centres), targets))
        wanted += apart * float(dan_loss.partition(heads))
        assert float(layer.losses[0]) == pytest.approx(wanted, rel=1e-5)


def test_options_reach_the_losses(monkeypatch):
    """Each network's loss takes its weights from the configuration."""
    made = {}
    for module, name, taps in ((dan_loss, "Differences", 3), (ddamfn_loss, "Diversity", 3)):

        def record(*arguments, kind=name, **options):
            made[kind] = arguments
            return lambda *values: values[0]

        monkeypatch.setattr(module, name, record)
        monkeypatch.setattr(module, "tapped", lambda *names, taps=taps: lambda faces: [faces] * taps)
    config = Config.of(affinity_weight=0.5, partition_weight=2, diversity_weight=0.3)
    for arch in ("dan", "ddamfn"):
        setting = type("Setting", (), {"config": config})
        network(arch).objective.answer(None, np.zeros((1, 2), "f4"), None, setting)
    assert made == {"Differences": (0.5, 2.0), "Diversity": (0.3,)}


def test_balance_is_asked_for_once():
    with pytest.raises(UserError, match="sampling balanced .* oversample_ratio 0.6 does not go with it"):
        Config.of(sampling="balanced")
    assert Config.of(sampling="balanced", oversample_ratio=0).data.sampling == "balanced"
