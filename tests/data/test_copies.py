"""The rules of the field `copies`: what each finds, what it leaves alone, and that the first is still what it
was.
"""

import hashlib
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from fer_hailo.common.config import SPLITS_BY, Config, save_config
from fer_hailo.common.errors import UserError
from fer_hailo.common.files import write_json
from fer_hailo.common.groups import SEVEN_CLASSES
from fer_hailo.common.preprocess import PreprocessSpec
from fer_hailo.common.runs import MODEL
from fer_hailo.training.data import pairs as pairs_module
from fer_hailo.training.data.cache import load_pictures
from fer_hailo.training.data.candidates import VIEWS, find_candidates, thumbnails
from fer_hailo.training.data.copies import registered_pairs
from fer_hailo.training.data.dataset import load_dataset
from fer_hailo.training.data.duplicates import exact_groups, merge_groups, near_pairs
from fer_hailo.training.data.registration import correlation, register, sample, standardised
from fer_hailo.training.data.sample import draw_face
from fer_hailo.training.fit.lineage import check_lineage

SPEC = PreprocessSpec()
STAY = np.float32([[1, 0, 0], [0, 1, 0]])


def textured(image, seed):
    """A drawn face with the skin, hair and background of its own that a photograph has: else a map of one
    fits another.
    """
    noise = cv2.GaussianBlur(np.random.default_rng([seed, 1]).normal(0, 1, image.shape), (0, 0), 2.5)
    return np.clip(image * 0.6 + 50 + 20 * noise / noise.std(), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def drawn():
    labels = ("happy", "angry", "surprise")
    return np.stack([textured(draw_face(labels[i % 3], np.random.default_rng(i)), i) for i in range(72)])


def crop(image, left, top, side):
    return cv2.resize(
        image[top : top + side, left : left + side], image.shape[1::-1], interpolation=cv2.INTER_CUBIC
    )


def turn(image, degrees):
    turned = cv2.getRotationMatrix2D((23.5, 23.5), degrees, 1)
    return cv2.warpAffine(image, turned, (48, 48), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)


CHANGES = {
    "lighter": lambda image: (image * 0.7 + 60).astype(np.uint8),
    "JPEG": lambda image: cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 60])[1], 0),
    "moved": lambda image: np.roll(np.pad(image, 1, mode="edge"), 1, axis=1)[1:-1, 1:-1],
    "cropped": lambda image: crop(image, 1, 1, 46),
    "cropped by a tenth, off centre": lambda image: crop(image, 1, 4, 43),
    "mirrored": lambda image: image[:, ::-1],
    "turned": lambda image: turn(image, 5),
    "mirrored and cropped": lambda image: crop(image, 1, 1, 46)[:, ::-1],
}


def test_planted_copies_are_found_and_nothing_else(drawn):
    changes = [change for change in CHANGES.values() for _ in range(8)]
    copies = np.stack([change(image) for change, image in zip(changes, drawn, strict=False)])
    found, scores = registered_pairs(np.concatenate([drawn, copies]), np.arange(len(drawn) + len(copies)))
    assert (found[:, 1] - found[:, 0]).tolist() == [len(drawn)] * len(found)
    counts = np.bincount(found[:, 0] // 8, minlength=len(CHANGES))
    assert dict(zip(CHANGES, counts >= 7, strict=True)) == dict.fromkeys(CHANGES, True) and counts.sum() >= 61
    assert scores.dtype == np.float32 and (scores >= 0.98).all() and (scores < 1.001).all()


def test_colour_and_other_sizes(drawn):
    for side in (32, 96):
        large = np.stack([cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA) for image in drawn])
        copies = large[:4, :, ::-1]
        colour = np.repeat(np.concatenate([large, copies])[..., None], 3, axis=3)
        assert registered_pairs(colour, np.arange(len(colour)))[0].tolist() == [
            [i, len(drawn) + i] for i in range(4)
        ]


def test_of_identical_images_the_first_is_compared(drawn):
    images = np.concatenate([drawn[:10], drawn[3:4], drawn[3:4, :, ::-1]])
    exact = exact_groups(images)
    found = registered_pairs(images, exact)[0]
    assert found.tolist() == [[3, 11]]
    assert merge_groups(exact, found)[[3, 10, 11]].tolist() == [3, 3, 3]


def test_blank_and_few_images_have_no_pairs(drawn):
    blanks = np.stack([np.full((48, 48), value, np.uint8) for value in (0, 90, 255)])
    # A diagonal one grey level brighter; 255 turns to 0, which is no blank
    almost = blanks + np.eye(48, dtype=np.uint8)
    for images in (blanks, almost[:2], drawn[:1], drawn[:0], np.concatenate([blanks, drawn[:1]])):
        found, scores = registered_pairs(images, np.arange(len(images)))
        assert found.shape == (0, 2) and scores.shape == (0,)


def test_noise_is_not_alike():
    noise = np.random.default_rng(0).integers(0, 256, (300, 48, 48), dtype=np.uint8)
    assert len(registered_pairs(noise, np.arange(300))[0]) == 0


def test_two_copies_alone_are_found(drawn):
    both = np.stack([drawn[0], drawn[0][:, ::-1]])
    assert registered_pairs(both, np.arange(2))[0].tolist() == [[0, 1]]


def test_thumbnails_of_views():
    # Grey level x; a cell's mean is that of its three pixels: 1, 4, 7, ...
    ramp = np.tile(np.arange(48, dtype=np.uint8), (1, 48, 1))
    centred = np.arange(16) * 3 - 22.5
    expected = np.tile(centred / np.sqrt(16 * (centred**2).sum()), 16)
    np.testing.assert_allclose(thumbnails(ramp)[0], expected, atol=1e-6)
    np.testing.assert_allclose(thumbnails(ramp, VIEWS[1])[0], -expected, atol=1e-6)
    # A part of a ramp is a ramp, but for its steps
    np.testing.assert_allclose(thumbnails(ramp, VIEWS[2])[0], expected, atol=3e-4)


def test_a_candidate_comes_once_with_its_view(drawn):
    mirrored = np.concatenate([drawn, drawn[5:6, :, ::-1]])
    pairs, views = find_candidates(mirrored)
    assert len(np.unique(np.sort(pairs, axis=1), axis=0)) == len(pairs)
    (at,) = np.flatnonzero((np.sort(pairs, axis=1) == [5, len(drawn)]).all(axis=1))
    assert views[at] == 1


def test_sampling_between_pixels():
    images = np.arange(16, dtype=np.float32).reshape(1, 4, 4)
    same, inside = sample(images, STAY[None])
    np.testing.assert_allclose(same[0], np.arange(16), atol=0.01)
    assert inside.all()
    # A quarter of half the side: half a pixel to the right
    half, inside = sample(images, np.float32([[[1, 0, 0.25], [0, 1, 0]]]))
    np.testing.assert_allclose(half.reshape(4, 4)[:, :3], np.arange(16).reshape(4, 4)[:, :3] + 0.5, atol=0.01)
    assert inside.reshape(4, 4).tolist() == [[True, True, True, False]] * 4


def test_registration_finds_a_known_turn_and_zoom(drawn):
    angle, zoom = np.deg2rad(4), 0.95
    linear = zoom * np.float32([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    known = np.concatenate([linear, [[0.04], [-0.02]]], axis=1).astype(np.float32)[None].repeat(8, axis=0)
    moving = standardised(np.stack([cv2.GaussianBlur(image, (0, 0), 1.5) for image in drawn[:8]]))
    fixed = standardised(3 * sample(moving, known)[0].reshape(8, 48, 48) + 7)
    found = register(moving, fixed, STAY[None].repeat(8, axis=0), 8)
    np.testing.assert_allclose(found, known, atol=0.004)  # a tenth of a pixel


def test_correlation_by_another_means():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 3, 50)).astype(np.float32)
    weights = (rng.random((3, 50)) < 0.7).astype(np.float32)
    expected = [np.corrcoef(x[w > 0], y[w > 0])[0, 1] for x, y, w in zip(a, b, weights, strict=True)]
    np.testing.assert_allclose(correlation(a, b, weights), expected, atol=1e-5)
    assert correlation(np.ones_like(a), b, weights).tolist() == [0, 0, 0]


# The field


@pytest.fixture
def planted(sample_set, tmp_path):
    """The sample set, textured, with a mirrored, a cropped and a lighter copy of ten training images each,
    and of two test images.
    """
    data = shutil.copytree(sample_set, tmp_path / "planted")
    for seed, file in enumerate(sorted(data.rglob("*.png"))):
        cv2.imwrite(str(file), textured(cv2.imread(str(file), cv2.IMREAD_GRAYSCALE), seed))
    for split, label, count in (("train", "happy", 10), ("train", "angry", 10), ("test", "surprise", 2)):
        for i in range(count):
            image = cv2.imread(str(data / split / label / f"drawn_{i:04d}.png"), cv2.IMREAD_GRAYSCALE)
            for name, change in (
                ("mirrored", CHANGES["mirrored"]),
                ("cropped", CHANGES["cropped"]),
                ("lighter", CHANGES["lighter"]),
            ):
                cv2.imwrite(str(data / "train" / label / f"drawn_{i:04d}_{split}_{name}.png"), change(image))
    return data


def digest(ids):
    return hashlib.sha256("\n".join(ids).encode()).hexdigest()[:16]


def test_without_the_field_the_split_is_what_it_was(planted):
    """The digests are of the program before there was the field."""
    data = load_dataset(Config.of(data=str(planted)), None)
    assert [digest(part.ids) for part in (data.train, data.val, data.test)] == [
        "d7833241cd0acf64",
        "7df2857f4ead1cac",
        "38401517e2deb229",
    ]


def test_copies_stay_on_one_side_and_out_of_training(planted):
    data = load_dataset(Config.of(data=str(planted), copies="registered"), None)
    side = {id: name for name in ("train", "val") for id in getattr(data, name).ids}
    for label in ("happy", "angry"):
        for i in range(10):
            stem = f"train/{label}/drawn_{i:04d}"
            assert (
                len(
                    {
                        side[f"{stem}{end}.png"]
                        for end in ("", "_train_mirrored", "_train_cropped", "_train_lighter")
                    }
                )
                == 1
            )
    assert data.dropped["also in test"] == 6 and not [id for id in side if "_test_" in id]
    assert load_dataset(Config.of(data=str(planted)), None).dropped["also in test"] == 2  # the lighter ones


def test_the_rule_decides_the_split(sample_set, tmp_path):
    assert "copies" in SPLITS_BY and Config().data.copies == "thumbnail"
    with pytest.raises(UserError, match="copies must be one of thumbnail, registered"):
        Config.of(copies="register")
    config = Config.of(data=str(sample_set))
    data, run = load_dataset(config, None), tmp_path / "run"
    save_config(config, run / "config.yaml")
    (run / MODEL).touch()
    write_json(run / "environment.json", {"data": {"key": data.key}})
    check_lineage(config.change(teacher=(str(run),)), data)
    with pytest.raises(UserError, match="split with copies thumbnail, not registered"):
        check_lineage(config.change(copies="registered", teacher=(str(run),)), data)


def test_pairs_are_kept_and_made_again_when_damaged(planted, tmp_path, monkeypatch):
    calls, some = [], (np.array([[0, 3], [2, 7]]), np.float32([0.99, 0.98]))
    monkeypatch.setattr(pairs_module, "registered_pairs", lambda images, exact: calls.append(1) or some)
    cache = tmp_path / "cache"
    thumbnail = load_pictures(planted, SPEC, cache)
    (file,) = cache.glob("*.npz")
    stamp = file.read_bytes()
    first = load_pictures(planted, SPEC, cache, "registered")
    beside = file.with_suffix(".registered.npz")
    assert beside.is_file() and file.read_bytes() == stamp and first.near.tolist() == [[0, 3], [2, 7]]
    for data, folder in ((planted, cache), (file, None)):  # the archive, and the cache given as data
        assert (
            np.array_equal(load_pictures(data, SPEC, folder, "registered").near, first.near)
            and len(calls) == 1
        )
    whole = beside.read_bytes()
    foreign = tmp_path / "foreign.npz"
    np.savez(
        foreign,
        version_of_rule=pairs_module.VERSION,
        key="another",
        pairs=first.near,
        scores=np.ones(len(first.near)),
    )
    np.savez(
        tmp_path / "far.npz",
        version_of_rule=pairs_module.VERSION,
        key=first.key,
        pairs=first.near + 10**6,
        scores=0,
    )
    for number, damage in enumerate(
        (whole[:500], b"", foreign.read_bytes(), (tmp_path / "far.npz").read_bytes()), 2
    ):
        beside.write_bytes(damage)
        assert (
            np.array_equal(load_pictures(file, SPEC, None, "registered").near, first.near)
            and len(calls) == number
        )
        assert (
            np.array_equal(load_pictures(file, SPEC, None, "registered").near, first.near)
            and len(calls) == number
        )
    assert np.array_equal(load_pictures(file, SPEC, None).near, thumbnail.near)
    assert sorted(path.name for path in cache.iterdir()) == sorted(
        [file.name, beside.name, file.with_suffix(".images.npy").name]
    )


def test_pairs_that_cannot_be_kept_are_still_used(planted, tmp_path, monkeypatch, capsys):
    pictures = load_pictures(planted, SPEC, None)

    def refused(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(pairs_module, "written", refused)
    found = pairs_module.kept_pairs(pictures.images, pictures.exact, pictures.key, tmp_path / "k.npz")
    assert len(found) and "could not be kept" in capsys.readouterr().err


def test_the_data_report_names_its_rule(planted, tmp_path):
    from fer_hailo.training.evaluate.data_report import write_data_report

    for rule, count in (("thumbnail", 2), ("registered", 6)):
        text = write_data_report(
            Config.of(data=str(planted), copies=rule), tmp_path / "cache", tmp_path / rule
        )
        assert f"near, by the rule {rule}:" in text
        assert f"exact or near: {count} train images also stand in test" in text


# FER2013 itself


@pytest.fixture(scope="module")
def archive(shared):
    return shared / "data/fer2013.zip"


@pytest.mark.slow
def test_fer2013_without_the_field_is_split_as_it_was(archive, tmp_path):
    """The digests are of the program before there was the field."""
    for classes, expected in (
        (Config().data.classes, ["8c7d18b936981c44", "531c28dc4f4fdf21", "d7bd7ad8a12b794b"]),
        (SEVEN_CLASSES, ["da911d075cb11e14", "128218a79034d8bb", "38b1f737717659ae"]),
    ):
        data = load_dataset(Config.of(data=str(archive), classes=classes), tmp_path)
        assert [digest(part.ids) for part in (data.train, data.val, data.test)] == expected


@pytest.mark.slow
def test_planted_copies_in_fer2013(archive, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "tools"))
    import plant_copies

    pictures = load_pictures(archive, SPEC, tmp_path)
    found = plant_copies.count_found(pictures.images[pictures.splits == "train"], seed=1)
    sys.modules.pop("plant_copies")
    assert len(near_pairs(pictures.images[:5000])) and plant_copies.PLANTED == 140
    thumbnail, registered = ({kind: counts[i] for kind, counts in found.items()} for i in (0, 1))
    assert thumbnail["identical"] == registered["identical"] == 140
    for kind in (
        "lighter",
        "darker, half the contrast",
        "JPEG of quality 50",
        "moved by one pixel",
        "mirrored",
    ):
        assert registered[kind] >= 138
    for kind in ("cropped by 2 pixels", "cropped by 4 to 10 %"):
        assert registered[kind] >= 130
    assert registered["turned by 5 degrees"] >= 112 and thumbnail["mirrored"] < 5
