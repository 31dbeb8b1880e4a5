"""Labels softened by what several people said of each image (FER+: Barsoum et al. 2016, ten votes an
image).
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import numpy as np

from fer_hailo.common.errors import UserError
from fer_hailo.training.data.dataset import Part
from fer_hailo.training.data.ferplus import read_votes

MOST_WITHOUT = 0.5  # above this part the file is another data set's
LEAST_GAIN = (
    0.1  # part of the errors of always naming the largest class; votes that save fewer are of other images
)


def soften(part: Part, targets: np.ndarray, path: Path | str, weight: float) -> np.ndarray:
    """(1 - weight) x targets + weight x the probability of each label given the votes; both float32 (N, C).

    That probability is a logistic regression from the ten counts to the labels of `part`: voters and the data
    set's author draw the borders between the classes differently, and the data set's are the ones that are
    scored. An image on which nobody voted keeps its label. Raises UserError when the file cannot be read or
    does not belong to these images.
    """
    from sklearn.linear_model import LogisticRegression

    known = read_votes(path)
    keys = [
        id if (id := str(PurePosixPath(name).with_suffix(""))) in known else PurePosixPath(id).name
        for name in part.ids
    ]
    found = np.array([key in known for key in keys], bool)
    if found.mean() < 1 - MOST_WITHOUT:
        raise UserError(
            f"{path} has votes for {found.sum():,} of {len(part):,} training images: it belongs to another "
            "data set"
        )
    votes = np.array([known[key] for key in keys if key in known])
    labels = part.labels[found]
    model = LogisticRegression(max_iter=1000).fit(votes, labels)
    wrong, at_first = 1 - model.score(votes, labels), 1 - np.bincount(labels).max() / len(labels)
    if at_first - wrong < LEAST_GAIN * at_first:
        raise UserError(
            f"{path} says nothing about the labels of these images: it belongs to another data set, or to "
            "other file names"
        )
    likely = np.zeros((len(votes), targets.shape[1]), np.float32)
    likely[:, model.classes_] = model.predict_proba(votes)
    targets = targets.copy()
    targets[found] = (1 - weight) * targets[found] + weight * likely
    return targets
