"""Where initial weights and teachers come from: they must not have learnt from what is now validation."""

from __future__ import annotations

from fer_hailo.common.config import SPLITS_BY, Config
from fer_hailo.common.errors import UserError
from fer_hailo.deploy.home import Use, resolve
from fer_hailo.training.data.dataset import Dataset
from fer_hailo.training.networks.weights import Kind, parse_weights

SIDES = ("split_seed", "validation_fraction")  # what parts train and validation


def check_lineage(config: Config, dataset: Dataset) -> None:
    """Raise UserError where a model that this run learns from was trained on the same data, split otherwise.

    Images that it has learnt would stand on the validation side, which then praises what it should judge. A
    run on all of train has no such side: what it learns from may have been split in any way, as long as the
    same was kept out for test.
    """
    weights = parse_weights(config.model.weights)
    models = [weights.text] if weights.kind is Kind.MODEL else []
    for source in (*models, *config.loss.teacher):
        home = resolve(source, Use.LEARN)
        if home.own is None or home.trained_on != dataset.key:
            continue  # it has learnt other images, or nobody knows which
        for name in (
            *(name for name in SPLITS_BY if config.data.validation_fraction or name not in SIDES),
            "classes",
        ):
            theirs, ours = home.own.value(name), config.value(name)
            if theirs != ours:
                raise UserError(
                    f"{source} was trained on this data split with {name} {theirs}, not {ours}: it has "
                    "learnt images that would "
                    "now be validation; train it anew with the same, or start from other weights"
                )
