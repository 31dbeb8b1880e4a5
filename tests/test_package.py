"""The package as it is installed: the one command, the files that a wheel holds, models and recipes found
from any folder, the API.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import ROOT, error_line
from test_imports import HEAVY, loaded_by

import fer_hailo
from fer_hailo import __main__ as command_line
from fer_hailo.common import calls, released, resources, runs
from fer_hailo.common.config import load_config
from fer_hailo.common.errors import UserError
from fer_hailo.common.released import RELEASED, absent, place, shown
from fer_hailo.common.runs import MODEL
from fer_hailo.deploy.home import resolve
from fer_hailo.training.networks.weights import parse_weights

MODULE = [sys.executable, "-m", "fer_hailo"]
COMMANDS = ("train", "convert", "compile", "evaluate", "run", "ensemble", "refine", "experiments")


# The command


def test_the_help_names_every_command_and_loads_no_framework(command):
    said = command([*MODULE, "--help"])
    assert said.returncode == 0 and re.findall(r"^  (\w+)  ", said.stdout, re.M)[: len(COMMANDS)] == list(
        COMMANDS
    )
    assert command([*MODULE, "--version"]).stdout.split() == ["fer-hailo", fer_hailo.__version__]
    code = "import sys; from fer_hailo.__main__ import main\ntry: main([{}])\nexcept SystemExit: pass"
    for arguments in ('"--help"', '"train", "--help"', '"train", "--list"'):
        assert not loaded_by(code.format(arguments)) & HEAVY


def test_an_older_python_is_told_so(command):
    older = "import sys; sys.version_info = (3, 9, 18); import fer_hailo.common.cli"
    said = command([sys.executable, "-c", older])
    assert "is 3.9, and fer-hailo needs 3.10 or newer" in error_line(said)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "name a command: train, convert"),
        (["trian"], "unknown command trian (did you mean train?)"),
        (["7"], "unknown command 7 (did you mean fer-hailo run 7?)"),
        (["--versoin"], "unknown option --versoin (did you mean --version?)"),
        (["train", "--emma", "1"], "unknown option --emma (did you mean --ema?)"),
    ],
)
def test_what_is_no_command(arguments, said):
    with pytest.raises(UserError, match=re.escape(said)):
        command_line.main(arguments)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_commands_help_speaks_of_how_it_was_called(name, monkeypatch, capsys):
    """The same words, whether a script or the console command was called; only the command differs."""
    told = {}
    for program in ("fer-hailo", "train.py"):
        monkeypatch.setattr(sys, "argv", [f"/somewhere/{program}"])
        with pytest.raises(SystemExit):
            command_line.main([name, "--help"])
        told[program] = capsys.readouterr().out
    script = calls.SCRIPTS[name]
    assert told["fer-hailo"].startswith(f"usage: fer-hailo {name} ") and told["train.py"].startswith(
        f"usage: {script} "
    )
    typed = script if script.startswith("python") else f"python {script}"
    assert f"\n{typed} " in told["train.py"] and "fer-hailo" not in told["train.py"]
    assert f"\nfer-hailo {name} " in told["fer-hailo"] and ".py" not in told["fer-hailo"]
    for other, script in calls.SCRIPTS.items():
        told["train.py"] = re.sub(rf"(python )?{re.escape(script)}", f"fer-hailo {other}", told["train.py"])
    assert told["train.py"].split() == told["fer-hailo"].split()


def test_messages_name_the_command_that_is_there(monkeypatch, tmp_path):
    def told(program):
        monkeypatch.setattr(sys, "argv", [program])
        with pytest.raises(UserError) as error:
            runs.newest_run(done=True, parent=tmp_path)
        return str(error.value).split(": ")[1], calls.install("train")

    assert told("train.py") == ("train one with python train.py", "pip install -e '.[train]'")
    assert (
        told("/usr/bin/fer-hailo")[0]
        == told("/x/fer_hailo/__main__.py")[0]
        == "train one with fer-hailo train"
    )
    monkeypatch.setattr(calls, "checkout", lambda: None)  # a program of somebody, with the library installed
    assert told("robot.py") == ("train one with fer-hailo train", "pip install 'fer-hailo[train]'")


# Files of the library


def test_files_are_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_config("configs/finetune.yaml").face.input_size == 96
    assert resources.find("alls/int8.alls") == ROOT / "alls" / "int8.alls"
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "finetune.yaml").write_text("input_size: 64")
    assert load_config("configs/finetune.yaml").face.input_size == 64  # the user's own goes first
    for other in (
        "configs/nothing.yaml",
        "fer2013_keras_hailo/results.csv",
        "elsewhere/configs/best.yaml",
        "/configs/best.yaml",
    ):
        assert resources.find(other) == Path(other)


def test_released_models_by_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, folder in RELEASED.items():
        assert place(f"released:{name}") == ROOT / "fer2013_keras_hailo" / folder
        assert parse_weights(f"released:{name}").files == (
            str(ROOT / "fer2013_keras_hailo" / folder / MODEL),
        )
        assert json.loads(place(f"released:{name}/manifest.json").read_text())["arch"] == name
    old = parse_weights(f"fer2013_keras_hailo/released/{MODEL}")  # as old runs name it
    assert old.files == parse_weights("released:mobilenet_v3_small").files
    with pytest.raises(
        UserError,
        match=r"unknown released model 'mobilenet_v3' \(did you mean mobilenet_v3_small\?\): known are rel",
    ):
        place("released:mobilenet_v3")
    with pytest.raises(
        UserError, match=r"model_int7.tflite \(did you mean \S+/released/model_int8.tflite\?\)"
    ):
        resolve("released:mobilenet_v3_small/model_int7.tflite")
    own = tmp_path / "fer2013_keras_hailo" / "released"
    own.mkdir(parents=True)
    assert place("released:mobilenet_v3_small").absolute() == own


def test_a_wheels_own_model_is_shown_by_its_name(monkeypatch):
    int8 = resources.resource("fer2013_keras_hailo/released_minimalistic") / "model_int8.tflite"
    assert shown(int8) == str(int8)  # of a checkout, where it lies among the user's files
    monkeypatch.setattr(released, "checkout", lambda: None)
    assert shown(int8) == "released:mobilenet_v3_small_minimalistic/model_int8.tflite"
    with pytest.raises(
        UserError, match=r"no model at released:(\w+)/int8.tflite \(did you mean released:\1/mo"
    ):
        resolve(int8.with_name("int8.tflite"))
    assert shown(Path("deploy/model_int8.tflite")) == "deploy/model_int8.tflite"


def test_all_that_recipes_refer_to_is_there():
    for path in sorted((ROOT / "configs").rglob("*.yaml")):
        for name in re.findall(r"released:\w+", path.read_text()):
            assert place(name).is_dir(), path


def test_what_a_recipe_calls_by_name_is_opened_and_checked_as_a_path_is(tmp_path, monkeypatch):
    from fer_hailo.training.fit.lineage import check_lineage
    from fer_hailo.training.models.build import build_model
    from fer_hailo.training.quantise.settings import quantised_config

    monkeypatch.chdir(tmp_path)
    tuned = quantised_config({}, {"quantise": "released:mobilenet_v3_small"})
    assert (tuned.model.weights, tuned.loss.teacher) == (
        "released:mobilenet_v3_small",
        ("released:mobilenet_v3_small",),
    )
    folder = ROOT / "fer2013_keras_hailo" / "released"
    assert tuned.face.input_size == load_config(folder / "config.yaml").face.input_size
    by_name, by_path = (
        build_model(tuned, weights=weights) for weights in (tuned.model.weights, str(folder / MODEL))
    )
    assert all(
        (one == other).all() for one, other in zip(by_name.get_weights(), by_path.get_weights(), strict=True)
    )
    same = SimpleNamespace(key=json.loads((folder / "environment.json").read_text())["data"]["key"])
    check_lineage(tuned, same)
    for learns_from in ({"weights": tuned.model.weights, "teacher": ()}, {"weights": "none"}):
        with pytest.raises(
            UserError,
            match="released:mobilenet_v3_small was trained on this data split with split_seed 42, not 7",
        ):
            check_lineage(tuned.change(split_seed=7, **learns_from), same)


def test_runs_go_where_the_environment_says(command, tmp_path):
    said = command([*MODULE, "train", "--help"], FER_HAILO_HOME="elsewhere")
    assert "[elsewhere/DATE-TIME_ARCH_sSEED]" in " ".join(said.stdout.split())
    result = command([*MODULE, "train", "--resume"], FER_HAILO_HOME="elsewhere")
    assert "no unfinished run in elsewhere" in error_line(result) and not list(tmp_path.iterdir())


def test_what_is_measured_of_a_released_model_goes_to_the_users_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert resolve("released:mobilenet_v3_small").results == Path("fer2013_keras_hailo/results.csv")
    copied = shutil.copytree(place("released:mobilenet_v3_small"), tmp_path / "copied")
    assert resolve(copied).results == tmp_path / "results.csv"
    assert runs.cache_of(place("released:mobilenet_v3_small")) == Path("fer2013_keras_hailo/cache")


# For programs


@pytest.fixture(scope="module")
def photograph():
    import cv2

    path = Path(pytest.importorskip("matplotlib").get_data_path()) / "sample_data" / "grace_hopper.jpg"
    return path, cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)


def test_the_package_itself_loads_nothing():
    assert not loaded_by("import fer_hailo; fer_hailo.load") & (HEAVY | {"numpy"})


def test_a_program_reads_what_the_command_reads(photograph, tmp_path, monkeypatch, inside):
    path, pixels = photograph
    monkeypatch.chdir(tmp_path)
    result = inside("run.py", path, "--json")
    (told,) = json.loads(result.stdout)[0]["faces"]
    with fer_hailo.load() as model:
        (face,) = model.predict(path)
        assert model.predict(str(path)) == model.predict(pixels) == [face]
        assert model.predict(pixels[:, ::-1]) and model.predict(np.zeros((64, 64, 3), np.uint8)) == []
    assert (list(face.box), face.label, face.sure) == (told["box"], told["label"], told["sure"])
    assert {name: round(p, 4) for name, p in face.probabilities.items()} == told["probabilities"]
    assert sum(face.probabilities.values()) == pytest.approx(1) and tuple(face.probabilities) == model.labels
    assert face.label == max(face.probabilities, key=face.probabilities.get)
    assert not list(tmp_path.iterdir())


def test_a_program_opens_other_models_and_is_told_what_is_wrong(photograph, tmp_path):
    with fer_hailo.load("released:mobilenet_v3_small_minimalistic", detector="none") as model:
        assert model.path.parent.name == "released_minimalistic"
        (face,) = model.predict(photograph[1])
        assert face.box == (0, 0, photograph[1].shape[1], photograph[1].shape[0])
        for wrong in (photograph[1].astype(np.float32), photograph[1][..., 0], np.zeros((0, 4, 3), np.uint8)):
            with pytest.raises(ValueError, match=r"must be uint8 \(H, W, 3\) RGB"):
                model.predict(wrong)
        with pytest.raises(UserError, match="nowhere.jpg does not exist"):
            model.predict("nowhere.jpg")
    with pytest.raises(UserError, match="no model at "):
        fer_hailo.load(tmp_path / "none.tflite")


def test_a_program_is_told_which_package_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(UserError, match=r"has no cv2: pip install -e '.\[board\]'"):
        fer_hailo.load()


# The wheel


def copied(folder: Path) -> Path:
    """The files that the repository holds, without what was built beside them."""
    names = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    for name in filter(None, names):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    return folder


def built(tree: Path, out: Path, *options: str) -> Path:
    """The wheel of a source tree or an sdist."""
    program = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        str(tree),
        "--no-deps",
        "--wheel-dir",
        str(out),
        "--quiet",
        *options,
    ]
    done = subprocess.run(program, capture_output=True, text=True, cwd=out.parent)
    assert done.returncode == 0, done.stderr
    (wheel,) = out.glob("*.whl")
    return wheel


def held(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_what_a_wheel_holds_by_itself_and_of_an_sdist(tmp_path):
    try:
        major = int(version("setuptools").split(".")[0])
    except PackageNotFoundError:
        major = 0
    if major < 77:
        pytest.skip("a wheel is built by setuptools 77 or newer: pip install -e '.[dev]'")
    tree = copied(tmp_path / "tree")
    code = "import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], cwd=tree, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    (sdist,) = tmp_path.glob("*.tar.gz")
    names = held(built(tree, tmp_path / "one", "--no-build-isolation"))
    assert held(built(sdist, tmp_path / "two", "--no-build-isolation")) == names
    kinds = (".py", ".html", ".csv", ".yaml")
    library = {
        str(path.relative_to(tree)) for path in (tree / "fer_hailo").rglob("*") if path.suffix in kinds
    }
    tests = {name for name in library if Path(name).name.startswith(("test_", "conftest"))}
    library -= tests
    recipes = {f"fer_hailo/shipped/{path.relative_to(tree)}" for path in (tree / "configs").rglob("*.yaml")}
    scripts = {f"fer_hailo/shipped/{path.relative_to(tree)}" for path in (tree / "alls").glob("*.alls")}
    inside = {name for name in names if name.startswith("fer_hailo/")}
    assert (
        len(recipes) > 10
        and {f"fer_hailo/training/networks/{name}/recipe.yaml" for name in ("dan", "lnsu")} <= library
    )
    assert len(scripts) >= 4 and library | recipes | scripts <= inside
    detector = {f"fer_hailo/board/yunet/{name}" for name in ("yunet_n_640_640.onnx", "LICENSE.txt")}
    assert {name for name in inside if "yunet" in name} == detector
    models = inside - library - recipes - scripts - detector
    models = {name.removeprefix("fer_hailo/shipped/") for name in models}
    for folder in RELEASED.values():
        own = {
            Path(name).name for name in models if Path(name).parent == Path("fer2013_keras_hailo") / folder
        }
        assert {
            "model_float32.tflite",
            "model_int8.tflite",
            "manifest.json",
            "labels.txt",
            "MODEL_CARD.md",
            "config.yaml",
        } <= own
    assert all(
        name.startswith("fer2013_keras_hailo/released") and not name.endswith((".keras", ".png"))
        for name in models
    )
    assert not [
        name
        for name in names
        if name.split("/")[0] in ("tests", "doubles", "tools", "bench", "docs", "examples", "configs", "alls")
    ]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The wheel, in an environment of its own that sees the packages of this one: gives its folder of
    programs.
    """
    folder = tmp_path_factory.mktemp("installed")
    wheel = built(copied(folder / "tree"), folder / "dist")
    venv.create(folder / "venv", with_pip=True)
    programs = folder / "venv" / ("Scripts" if os.name == "nt" else "bin")
    subprocess.run(
        [programs / "python", "-m", "pip", "install", "--quiet", "--no-deps", str(wheel)], check=True
    )
    (site,) = (folder / "venv").glob("lib/python*/site-packages")
    others = next(path for path in sys.path if Path(path).name == "site-packages")
    (site / "others.pth").write_text(others + "\n")
    shutil.rmtree(folder / "tree")
    return programs


@pytest.mark.slow
def test_the_wheel_does_everything_in_an_empty_folder(installed, photograph, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    environment = {
        name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "FER_HAILO_HOME")
    }

    def call(*arguments, status: int = 0):
        done = subprocess.run(
            [str(word) for word in arguments],
            cwd=empty,
            env=environment,
            capture_output=True,
            text=True,
            timeout=900,
        )
        assert done.returncode == status, done.stderr
        return done

    where = call(installed / "python", "-c", "import fer_hailo; print(fer_hailo.__file__)").stdout
    assert Path(where).is_relative_to(installed.parent), where
    program = installed / "fer-hailo"
    (entry,) = json.loads(call(program, "run", photograph[0], "--json").stdout)
    assert len(entry["faces"]) == 1 and not list(empty.iterdir())
    assert "mobilenet_v3_small " in call(program, "train", "--list").stdout
    alike = ("--votes", "", "--extra-classes", "")  # which drawn faces do not have
    lacking = error_line(
        call(program, "train", "--sample", "--config", "configs/twin.yaml", *alike, status=2)
    )
    assert (
        "not its best_model_float32.keras: copy that folder of the project's repository to "
        "fer2013_keras_hailo/released" in lacking
    )
    call(program, "train", "--smoke")
    assert json.loads(next(empty.glob("*/*/environment.json")).read_text())["command"][0] == "fer-hailo"
    call(program, "convert")
    (run,) = empty.glob("fer2013_keras_hailo/*_s42")
    bundle = run / "deploy"
    report = call(program, "compile", "--rehearse", "--max-drop", "100")
    assert "rehearsal: no HEF was made" in report.stdout
    call(program, "compile", "--lint", "alls/int8.alls")
    alone = tmp_path / "alone"
    shutil.copytree(bundle, alone)
    done = subprocess.run([sys.executable, "-I", "compile_hef.pyz", ".", "--rehearse", "--max-drop", "100"],
        cwd=alone,
                          capture_output=True, text=True, timeout=900)  # fmt: skip
    assert done.returncode == 0 and "rehearsal: no HEF was made" in done.stdout, done.stderr
    (empty / "grid.yaml").write_text(
        "base: configs/smoke.yaml\ncommon: {stage2_epochs: 1, stage2_warmup_epochs: 0}\nseeds: [1]\n"
    )
    call(program, "experiments", "grid.yaml", "--data", "fer2013_keras_hailo/sample")
    # No fer2013/, no calib/
    assert {path.name for path in empty.iterdir()} == {"fer2013_keras_hailo", "grid.yaml"}


def test_what_an_installed_package_lacks_is_one_line(tmp_path, monkeypatch):
    """As from a wheel: the library's own folder is elsewhere, and holds no .keras."""
    home = tmp_path / "site-packages" / "shipped"
    shutil.copytree(ROOT / "fer2013_keras_hailo" / "released", home / "fer2013_keras_hailo" / "released",
                    ignore=shutil.ignore_patterns("*.keras"))  # fmt: skip
    monkeypatch.chdir(tmp_path)
    for module in (released, resources):
        monkeypatch.setattr(module, "checkout", lambda: None)
    monkeypatch.setattr(released, "resource", lambda name: home / name)
    line = absent(Path(*parse_weights("released:mobilenet_v3_small").files))
    assert (
        line.endswith("copy that folder of the project's repository to fer2013_keras_hailo/released")
        and "\n" not in line
    )
    assert absent(tmp_path / "mine.keras") == f"no model at {tmp_path / 'mine.keras'}"
