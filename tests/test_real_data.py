"""FER2013 itself, where it is there: published counts, and a split that keeps copies together."""

import json
import shutil

import numpy as np
import pytest
from conftest import ROOT

from fer_hailo.common.config import Config
from fer_hailo.common.groups import SEVEN_CLASSES
from fer_hailo.common.preprocess import PreprocessSpec
from fer_hailo.training.data.balance import oversample_minority_classes
from fer_hailo.training.data.cache import load_pictures
from fer_hailo.training.data.clean import duplicate_groups
from fer_hailo.training.data.dataset import load_dataset
from fer_hailo.training.data.sources import load_filtered_image_paths
from fer_hailo.training.evaluate.data_report import duplicate_counts


@pytest.fixture(scope="module")
def archive(shared):
    return shared / "data" / "fer2013.zip"


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def pictures(archive, cache):
    return load_pictures(archive, PreprocessSpec(), cache)


@pytest.mark.slow
def test_published_counts(pictures):
    train = pictures.splits == "train"
    assert (train.sum(), (~train).sum(), len(pictures.bad)) == (28_709, 3_589, 0)
    counts = dict(zip(*np.unique(pictures.labels[train], return_counts=True), strict=True))
    assert counts == {
        "angry": 3995,
        "disgust": 436,
        "fear": 4097,
        "happy": 7215,
        "neutral": 4965,
        "sad": 4830,
        "surprise": 3171,
    }
    assert duplicate_counts(pictures.exact[train], pictures.labels[train]) == (1_035, 2_271, 39)


@pytest.mark.slow
def test_oversampled_counts_of_the_seed(archive):
    ids, labels, names = load_filtered_image_paths(archive)
    train = np.array([id.startswith("train/") for id in ids])
    out = oversample_minority_classes(np.flatnonzero(train), labels[train], 0.6, 42)
    assert dict(zip(names, np.bincount(labels[out]).tolist(), strict=True)) == {
        "angry": 4329, "disgust": 4329, "happy": 7215, "neutral": 4965, "surprise": 4329}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("cleaning", [True, False])
def test_no_copies_on_both_sides(archive, cache, pictures, cleaning):
    switches = dict.fromkeys(("drop_blank", "drop_conflicts", "drop_test_copies"), cleaning)
    data = load_dataset(Config.of(data=str(archive), classes=SEVEN_CLASSES, **switches), cache)
    group = dict(zip(pictures.ids, duplicate_groups(pictures), strict=True))
    train, val, test = ({group[id] for id in part.ids} for part in (data.train, data.val, data.test))
    assert not train & val
    assert bool((train | val) & test) != cleaning  # copies of test images are there, until they are dropped
    assert len(data.val) == pytest.approx(0.2 * (len(data.train) + len(data.val)), rel=0.02)
    assert len(data.test) == 3_589  # a test set is scored whole
    shares = [np.bincount(part.labels) / len(part) for part in (data.train, data.val)]
    np.testing.assert_allclose(*shares, atol=0.005)


@pytest.mark.slow
def test_an_epoch_with_imagenet_weights_in_3_gib(command, archive, shared, cache, tmp_path):
    shutil.copytree(cache, tmp_path / "fer2013_keras_hailo" / "cache")
    weights = shared / "data/weights/mobilenet_v3_small_imagenet_no_top.h5"
    code = tmp_path / "measured.py"
    code.write_text(
        f"import resource, sys\nsys.path.insert(0, {str(ROOT)!r})\nimport train\nstatus = "
        "train.run(train.main, sys.argv[1:])\n"
        "print('peak', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\nsys.exit(status)\n"
    )
    result = command(str(code), "--data", archive, "--weights", weights, "--stage1-epochs", "0",
        "--stage2-epochs", "1",
                     "--stage2-warmup-epochs", "0", "--out",
                     tmp_path / "fer2013_keras_hailo/run")  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert int(result.stdout.split()[-1]) < 3 * 2**20  # KiB
    metrics = json.loads((tmp_path / "fer2013_keras_hailo/run/metrics_val.json").read_text())
    # The largest class alone would give 0.37; measured: 0.458
    assert metrics["count"] == 3_877 and metrics["accuracy"] > 0.41


@pytest.mark.slow
def test_smoke_learns(command, tmp_path):
    result = command("train.py", "--smoke")
    assert result.returncode == 0, result.stderr
    run = next(tmp_path.glob("fer2013_keras_hailo/*_s42"))
    metrics = json.loads((run / "metrics_test.json").read_text())
    assert metrics["accuracy"] > 0.5 and metrics["data"] == "synthetic sample set"


@pytest.mark.slow
def test_a_fine_tuned_model_keeps_its_accuracy_in_int8(command, archive, shared, cache, tmp_path):
    """The network that loses dozens of points in INT8 unless its dead units go and its first block is kept
    out.
    """
    shutil.copytree(cache, tmp_path / "fer2013_keras_hailo" / "cache")
    weights = shared / "data/weights/mobilenet_v3_small_imagenet_no_top.h5"
    run = tmp_path / "fer2013_keras_hailo/run"
    config = ROOT / "configs/finetune.yaml"
    short = ["--stage1-epochs", "0", "--stage2-epochs", "4", "--stage2-warmup-epochs", "1"]
    trained = command(
        "train.py", "--config", config, "--data", archive, "--weights", weights, "--out", run, *short
    )
    assert trained.returncode == 0, trained.stderr
    converted = command("convert_tflite.py", run)
    assert converted.returncode == 0, converted.stderr
    facts = json.loads((run / "conversion.json").read_text())
    float32, int8 = ({split: m["accuracy"] for split, m in c["metrics"].items()} for c in facts["candidates"])
    assert facts["parity"]["same"] == 256 and sorted(facts["calibration"]["per_class"]) == [
        204,
        205,
        205,
        205,
        205,
    ]
    assert float32["val"] > 0.6 and float32["val"] - int8["val"] < 0.02
    # Squeeze-and-excite units that are dead on every face
    assert any(change["kept"] for change in facts["changes"])
    rehearsed = command("compile_hef.py", run / "deploy", "--rehearse", "--max-drop", "2")
    assert rehearsed.returncode == 0, rehearsed.stderr
    assert not list(run.rglob("*.hef")) and not list(run.rglob("*.har"))
