"""Folds of the training side, for models that have not seen an image's label."""

from collections import Counter

import numpy as np
import pytest

from fer_hailo.common.config import Config
from fer_hailo.common.errors import UserError
from fer_hailo.training.data.dataset import load_dataset
from fer_hailo.training.data.split import assign_folds


def test_folds_are_stratified_and_never_part_copies():
    labels = np.repeat([0, 1], [300, 60])
    groups = np.arange(360)
    groups[100:140] = groups[60:100]  # 40 pairs of copies
    folds = assign_folds(labels, groups, 5, 42)
    assert (folds[100:140] == folds[60:100]).all() and set(folds) == set(range(5))
    first = np.r_[:100, 140:360]  # an image of each group
    assert set(Counter(folds[first][labels[first] == 0]).values()) == {52}
    assert set(Counter(folds[first][labels[first] == 1]).values()) == {12}
    assert (folds == assign_folds(labels, groups, 5, 42)).all()
    assert (folds != assign_folds(labels, groups, 5, 43)).any()
    with pytest.raises(UserError, match="too few different images for 61 folds"):
        assign_folds(labels, groups, 61, 42)


def test_folds_part_the_training_side_and_nothing_else(small):
    """Each image of it is left out once; validation and test are those of a run without folds."""
    whole = load_dataset(small, None)
    assert not len(whole.left_out)
    sides = [load_dataset(small.change(fold=f"{i}/4"), None) for i in (1, 2, 3, 4)]
    left = np.concatenate([side.left_out.ids for side in sides])
    assert sorted(left) == sorted(whole.train.ids)
    for side in sides:
        assert set(side.train.ids) == set(whole.train.ids) - set(side.left_out.ids)
        assert (side.val.ids == whole.val.ids).all() and (side.test.ids == whole.test.ids).all()
        assert len(side.targets) == len(side.train) == 60 and len(side.left_out) == 20


@pytest.mark.parametrize("fold", ["0/5", "6/5", "1/1", "1", "a/b", "1/5/2", "-1/5", "/"])
def test_folds_that_are_none(fold):
    with pytest.raises(UserError, match="fold must be i/K, such as 1/5 to 5/5, got"):
        Config.of(fold=fold)
    assert Config.of(fold="5/5").data.left_out == (5, 5) and Config().data.left_out is None
