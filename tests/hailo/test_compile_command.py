"""compile_hef.py as a command: lint, inspect, what it imports, and the one file in the bundle that does it
all without a checkout.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import zipfile

import handmade
import pytest
from conftest import ROOT, error_line
from handmade import compile_hef, environment, write_bundle

from fer_hailo.formats.hef import read_hef

# Refuses every import but those of the standard library, numpy and this project, as if nothing else were
# installed. Writes down what the project asked for; what numpy and the standard library try for themselves
# (copy: Jython's modules) is their own affair.
ALONE = """
import sys
class Alone:
    allowed = set(sys.stdlib_module_names) | {"numpy", "fer_hailo", "compile_hef"}
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in self.allowed:
            return None
        frame = sys._getframe(1)
        while frame and frame.f_globals.get("__name__", "").startswith("importlib"):
            frame = frame.f_back
        if frame.f_globals.get("__name__", "").split(".")[0] in ("fer_hailo", "compile_hef", "__main__"):
            print("ASKED FOR", name, file=sys.stderr)
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Alone())
"""


@pytest.fixture(scope="module")
def right(tmp_path_factory):
    """An intact bundle. Do not change it."""
    return write_bundle(tmp_path_factory.mktemp("right") / "deploy")


@pytest.fixture(scope="module")
def made(right):
    """The HAR and the HEF of that bundle."""
    result = compile_hef(right, "--out", "out", "--max-drop", 5, cwd=right.parent)
    assert result.returncode == 0, result.stderr
    return right.parent / "out"


def asked_for(result) -> set[str]:
    return {line.split()[-1] for line in result.stderr.splitlines() if line.startswith("ASKED FOR")}


# Imports


def test_numpy_and_the_standard_library_are_enough(right, made, tmp_path):
    def alone(*arguments):
        return compile_hef(*arguments, cwd=tmp_path, sdk=False, before=ALONE)

    lint = alone("--lint", right / "model.alls", "--bundle", right, "--har", made / "model.har")
    inspect = alone("--inspect", made / "model.hef", "--json")
    compiling, rehearsing = alone(right, "--out", "out"), alone(right, "--rehearse", "--out", "out")
    assert (lint.returncode, inspect.returncode) == (0, 0) and not asked_for(lint) and not asked_for(inspect)
    assert "hailo_sdk_client) is not installed" in error_line(compiling) and asked_for(compiling) == {
        "hailo_sdk_client"
    }
    assert "LiteRT is not installed: pip install ai-edge-litert" in error_line(rehearsing)
    assert asked_for(rehearsing) == {"ai_edge_litert", "tensorflow"}
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "module",
    [
        "deploy.bundle",
        "formats.tflite",
        "deploy.scoring",
        "sdk.client",
        "sdk.log",
        "sdk.compile",
        "sdk.verdict",
        "script.settings",
        "sdk.rehearsal",
        "sdk.chain",
        "sdk.problem",
        "sdk.report",
        "deploy.program",
    ],  # fmt: skip
)
def test_each_module_alone(module):
    """In a process of its own, since one may hide what another lacks; nothing runs at import."""
    result = subprocess.run(
        [sys.executable, "-c", f"{ALONE}\nimport fer_hailo.{module}"],
        env=environment(ROOT, sdk=False),
        capture_output=True,
        text=True,
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


# The program in the bundle


def pyz(folder, *arguments, sdk: bool = True, **switches) -> subprocess.CompletedProcess:
    """Run the program from inside the bundle; the double of the SDK is the one thing of the checkout that can
    be imported.
    """
    return subprocess.run(
        [sys.executable, "compile_hef.pyz", *map(str, arguments)],
        cwd=folder,
        env=environment(None, sdk, **switches),
        capture_output=True, text=True, timeout=100,
    )  # fmt: skip


def test_the_program_holds_what_it_needs_and_no_more(right):
    with zipfile.ZipFile(right / "compile_hef.pyz") as archive:
        names = set(archive.namelist())
    assert {
        "__main__.py",
        "fer_hailo/commands/compile.py",
        "fer_hailo/sdk/compile.py",
        "fer_hailo/common/metrics.py",
    } <= names
    assert not [name for name in names if "__pycache__" in name or "train" in name or "convert" in name]


def test_the_whole_way_from_the_training_machine_to_the_board(converted, tmp_path):
    """A bundle of the real conversion, copied to where there is no checkout, rehearsed and compiled by the
    program in it.
    """
    shutil.copytree(converted, tmp_path / "deploy", ignore=shutil.ignore_patterns("hailo8"))
    folder = tmp_path / "deploy"
    rehearsal = pyz(folder, ".", "--rehearse", "--max-drop", 100, sdk=False)
    assert rehearsal.returncode == 0 and "rehearsal: no HEF was made" in rehearsal.stdout, rehearsal.stderr
    result = pyz(folder, ".", "--max-drop", 100)
    assert result.returncode == 0, result.stderr
    facts, manifest = (
        json.loads((folder / name).read_text()) for name in ("hailo8/compile_report.json", "manifest.json")
    )
    for split in ("val", "test"):  # as measured on the training machine
        assert (
            facts["metrics"]["har-native"][split]["accuracy"]
            == manifest["metrics"]["tflite"][split]["accuracy"]
        )
        assert (
            facts["metrics"]["har-native"][split]["sha256"] == manifest["metrics"]["keras"][split]["sha256"]
        )
    assert facts["agreement"]["har-native"] == 1
    assert (tmp_path / "results.csv").exists() and read_hef(
        folder / "hailo8" / "model.hef"
    ).architecture == "HAILO8"
    again = pyz(folder)  # the bundle is the folder it stands in
    assert again.stderr.count("is up to date") == 3
    lint = pyz(folder, "--lint", "model.alls", "--bundle", ".", "--har", "hailo8/model.har", sdk=False)
    assert lint.returncode == 0 and "model.alls: 0 errors" in lint.stdout
    assert "HAILO8" in pyz(folder, "--inspect", "hailo8/model.hef", sdk=False).stdout
    assert "--rehearse" in error_line(pyz(folder, "--steps", "compile", sdk=False))


def test_the_program_fails_as_the_script_does(right, tmp_path):
    folder = shutil.copytree(right, tmp_path / "deploy")
    assert "unknown --hw-arch hailo9" in error_line(pyz(folder, ".", "--hw-arch", "hailo9"))
    assert pyz(folder, ".", kill_before="compile").returncode == -signal.SIGKILL
    assert pyz(folder, ".", "--max-drop", 5).returncode == 0
    (folder / "calib_set.npy").write_bytes(b"")
    assert "calib_set.npy is no NumPy array" in error_line(pyz(folder, "."))


# --lint


def lint(*arguments, cwd):
    return compile_hef("--lint", *arguments, cwd=cwd, sdk=False)


@pytest.mark.parametrize("name", ["int8", "fast"])
@pytest.mark.parametrize("own", [None, "mobilenet_v3_small_a16", "mobilenet_v3_small_minimalistic_a16"])
def test_own_scripts_have_no_errors(tmp_path, name, own):
    layers = ["--layers", ROOT / "alls" / f"{own}.alls"] if own else []
    result = lint(ROOT / "alls" / f"{name}.alls", *layers, cwd=tmp_path)
    assert result.returncode == 0 and f"{own or name}.alls: 0 errors" in result.stdout


def test_a_networks_own_lines_are_no_script(right, tmp_path):
    result = lint(ROOT / "alls/mobilenet_v3_small_a16.alls", "--bundle", right, cwd=tmp_path)
    assert result.returncode == 2 and "does not normalise" in result.stdout


def test_lint_tells_place_and_suggestion(right, made, tmp_path):
    (tmp_path / "x.alls").write_text(
        handmade.SCRIPT.replace("optimization_flavor", "optimisation_flavor")
        + 'quantization_param("stemm", precision_mode=a16_w16)\n'
    )
    result = lint("x.alls", "--bundle", right, "--har", made / "model.har", cwd=tmp_path)
    assert result.returncode == 2 and "Traceback" not in result.stderr
    *lines, summary = result.stdout.splitlines()
    (misspelt,), (unknown,) = (
        [line for line in lines if line.startswith(f"x.alls:{place}: ")]
        for place in ("2:1: warning", "5:20: error")
    )
    assert "not known here" in misspelt and "did you mean model_optimization_flavor?" in misspelt
    assert "stemm" in unknown and "did you mean stem?" in unknown
    assert summary.startswith(f"x.alls: {sum(': error: ' in line for line in lines)} errors, ")


def test_strict_makes_warnings_errors(tmp_path):
    (tmp_path / "x.alls").write_text(handmade.SCRIPT + "performance_param(turbo=1)\n")
    result = lint("x.alls", cwd=tmp_path)
    assert result.returncode == 0 and "warning: turbo is not known here" in result.stdout
    strict = lint("x.alls", "--strict", cwd=tmp_path)
    assert strict.returncode == 2 and "error: turbo is not known here" in strict.stdout


def test_lint_without_a_har_calls_names_unchecked(right, tmp_path):
    (tmp_path / "x.alls").write_text(handmade.SCRIPT + "quantization_param(conv99, precision_mode=a16_w16)\n")
    result = lint("x.alls", right, cwd=tmp_path)  # the bundle may be named as elsewhere
    assert result.returncode == 0 and "note: 1 layer name is unchecked" in result.stdout


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["none.alls"], "cannot read the model script none.alls"),
        (["."], "cannot read the model script ."),
        (["junk"], "junk is not text"),
        (["good.alls", "--bundle", "none"], "no deploy bundle at none"),
        (["good.alls", "--har", "junk"], "junk is not a HAR"),
        (["good.alls", "--har", "none.har"], "cannot read the HAR none.har"),
        ([], "--lint"),
    ],
)
def test_lint_of_wrong_files(tmp_path, arguments, words):
    (tmp_path / "junk").write_bytes(bytes(range(256)))
    (tmp_path / "good.alls").write_text(handmade.SCRIPT)
    assert words in error_line(lint(*arguments, cwd=tmp_path))


# --inspect


def inspect(*arguments, cwd):
    return compile_hef("--inspect", *arguments, cwd=cwd, sdk=False)


def test_inspect(made, tmp_path):
    text = inspect(made / "model.hef", cwd=tmp_path)
    assert (text.returncode, text.stderr) == (0, "")
    for part in ("HAILO8", "3.33.0", "16x16x3", "feed raw 0..255"):
        assert part in text.stdout
    values = json.loads(inspect(made / "model.hef", "--json", cwd=tmp_path).stdout)
    assert values == json.loads(json.dumps(read_hef(made / "model.hef").to_dict()))
    assert values["inputs"][0]["shape"] == [16, 16, 3] and values["inputs"][0]["normalised_on_chip"] is True


@pytest.mark.parametrize("name", ["arcface_mobilefacenet_hailo8.hef", "arcface_mobilefacenet_hailo15h.hef"])
def test_inspect_agrees_with_the_vendor(shared, tmp_path, name):
    expected = json.loads((shared / "data" / "hef" / "expected.json").read_text())[name]
    found = json.loads(inspect(shared / "data" / "hef" / name, "--json", cwd=tmp_path).stdout)
    for side in ("inputs", "outputs"):
        for stream, wanted in zip(found[side], expected.pop(side), strict=True):
            assert {key: stream[key] for key in wanted} == wanted
    expected.pop("sha256")  # of the file, which is checked elsewhere
    assert {key: found[key] for key in expected} == expected


def test_inspect_of_wrong_files(made, tmp_path):
    content = (made / "model.hef").read_bytes()
    files = {
        "empty.hef": b"", "text.hef": b"no HEF at all, only text of some length", "cut.hef": content[:-20],
        "flipped.hef": content[:-1] + bytes([content[-1] ^ 4]),
        "cut.har": (made / "model.har").read_bytes()[:700],
    }  # fmt: skip
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
        assert name in error_line(inspect(name, cwd=tmp_path))
    assert "none.hef" in error_line(inspect("none.hef", cwd=tmp_path))
    for name in ("model.tflite", "."):
        assert f"takes a .hef or a .har, not {name}" in error_line(inspect(name, cwd=tmp_path))
    os.mkfifo(tmp_path / "pipe.hef")
    assert "pipe.hef" in error_line(inspect("pipe.hef", cwd=tmp_path))


def test_help_names_every_way(tmp_path):
    result = compile_hef("--help", cwd=tmp_path, sdk=False)
    assert result.returncode == 0
    for option in (
        "--hw-arch",
        "--alls",
        "--steps",
        "--out",
        "--max-drop",
        "--quick",
        "--rehearse",
        "--lint",
        "--har",
        "--inspect",
        "--json",
        "--report-problem",
    ):
        assert option in result.stdout
