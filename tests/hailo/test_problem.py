"""compile_hef.py --report-problem: what is packed, and that nothing in it names anybody or shows an image."""

import io
import json
import os
import socket
import subprocess
import sys
import time
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import error_line
from handmade import environment
from test_har import HN, npz, write

from fer_hailo.common.errors import UserError
from fer_hailo.deploy.program import write_program
from fer_hailo.sdk import machine, problem
from fer_hailo.sdk.scrub import Scrubber

# Made up: a person, a machine, a colleague whose home folder is in a log
PERSON, MACHINE, OTHER, PROJECT = "zoraya.quent", "velox9.lab.example", "otmar", "brondel-study"
IMAGE = np.random.default_rng(5).integers(0, 256, 3000, np.uint8).tobytes()
WEIGHTS = np.random.default_rng(6).normal(size=500).astype(np.float32).tobytes()
SECRETS = (
    *("zoraya", "quent", "velox9", "lab.example", "otmar", "brondel", "10.20.30.40", "fe80::12", "holiday"),
    *("0a:1b:2c:3d:4e:5f", "example.org", "4711-secret", "/home", "Users", "wsl$", "portrait", "my runs"),
)
LOG = rf"""[info] Loading /home/{PERSON}/my runs/{PROJECT}/deploy/model_float32.tflite for net/conv1
[info] Linux velox9 5.15.0-91-generic #101-Ubuntu, DFC 3.33.0, took 00:01:02
[warning] Reducing output bits of net/ew_add1 by 4.0 bits
net/output_layer1 SNR: 12.5 dB
  File "/home/{OTHER}/.venv/lib/python3.10/site-packages/hailo_sdk_client/runner/client_runner.py", line 77
OSError: C:\Users\Zoraya.Quent\Holiday Pictures\portrait.png, "C:\\Users\\{OTHER}\\portrait two.jpg"
\\wsl$\Ubuntu\home\{OTHER}\x {{"cwd": "\/home\/{PERSON}\/x", "name": "z\u006fraya.quent"}}
USER={PERSON} "HOSTNAME": "velox9" API_TOKEN=4711-secret {PERSON}@velox9:~$ by {OTHER}, z.q@example.org
from 10.20.30.40 and fe80::12%eth0 (0a:1b:2c:3d:4e:5f), https://velox9.lab.example/zoraya?x=1
b'{"".join(f"{chr(92)}x{byte:02x}" for byte in IMAGE[:40])}'
""" + "\n".join(" [130 131 132]" for _ in range(40))


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The home of a made-up person, who stands in a folder with a bundle that was compiled in part."""
    home = tmp_path / "home" / PERSON / PROJECT
    out = home / "deploy" / "hailo8"
    out.mkdir(parents=True)
    (out / "sdk.log").write_text(LOG)
    (home / "acceleras.log").write_text(f"worker of {PERSON} on {MACHINE}\nUsing dataset with 64 entries\n")
    (home / "hailo_sdk.velox9.log").write_text("core\n")
    (out / "effective.alls").write_text("net/input_normalization = normalization([127.5], [127.5])\n")
    (out / "steps.json").write_text(json.dumps({"parse": {"notes": [f"made by {PERSON}"], "seconds": 1.5}}))
    manifest = {
        "name": f"20260101_{PROJECT}",
        "arch": "net",
        "labels": ["happy", "sad"],
        "data": {"name": "faces_of_zoraya", "key": "00ff"},
        "pixels": list(IMAGE),
        "rows": [list(IMAGE[i : i + 3]) for i in range(60)],
        "environment": {"command": ["train.py", f"/home/{PERSON}/x"], "git_commit": "0123abc"},
    }
    (home / "deploy" / "manifest.json").write_text(json.dumps(manifest))
    hn = HN | {"about": {"user": PERSON}}
    members = {"net.hn": json.dumps(hn).encode(), "net.npz": npz(w=np.frombuffer(WEIGHTS, np.float32))}
    write(out / "model.har", members)
    (out / "model_quantized.har").write_bytes((out / "model.har").read_bytes()[:700])
    for folder in (home, out, home / "deploy"):
        for name in ("portrait.png", "calib_set.npy", "model_float32.tflite", "model.hef"):
            (folder / name).write_bytes(IMAGE)
    monkeypatch.chdir(home)
    for name, value in {"USER": PERSON, "HOSTNAME": MACHINE, "HOME": str(home.parent)}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(socket, "gethostname", lambda: MACHINE)
    monkeypatch.setattr(machine, "_packages", dict)
    monkeypatch.setattr(problem, "asked_sdk", lambda: ({"sdk": machine.NOT_INSTALLED}, ""))
    return home


def packed(path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def test_nothing_in_the_zip_names_anybody_or_shows_an_image(place, capsys):
    target = place.parent / "help.zip"
    assert problem.report_problem(target, place / "deploy", None, "hailo8", sure=True) == 0
    pieces = packed(target)
    for content in (target.read_bytes(), "\n".join(pieces).encode(), *pieces.values()):
        lower = content.lower()
        for secret in (*SECRETS, PERSON, MACHINE, str(place)):
            for form in (secret, json.dumps(secret)[1:-1], secret.replace("/", "\\/")):
                assert form.lower().encode() not in lower, form
        for data in (IMAGE, WEIGHTS):
            assert not any(data[at : at + 8] in content for at in range(0, len(data), 8))
        assert b"131 132" not in content and b"131,\n" not in content
    # And what helps is there
    log = pieces["out/sdk.log"].decode()
    for line in (
        "[warning] Reducing output bits of net/ew_add1 by 4.0 bits",
        "net/output_layer1 SNR: 12.5 dB",
        '  File "<path>/hailo_sdk_client/runner/client_runner.py", line 77',
        "[info] Linux <host> 5.15.0-91-generic #101-Ubuntu, DFC 3.33.0, took 00:01:02",
    ):
        assert line in log.splitlines()
    assert "Using dataset with 64 entries" in pieces["current/acceleras.log"].decode()
    network = json.loads(pieces["out/model.har.json"])
    assert network["hn"]["layers"] == HN["layers"] and network["hn"]["about"]["user"] == "<removed>"
    manifest = json.loads(pieces["manifest.json"])
    assert (manifest["name"], manifest["pixels"], manifest["rows"]) == (
        "<run>",
        "<3000 numbers>",
        "<180 numbers>",
    )
    assert (manifest["labels"], manifest["environment"]["git_commit"]) == (["happy", "sad"], "0123abc")
    assert pieces["out/effective.alls"] == (place / "deploy/hailo8/effective.alls").read_bytes()


def test_the_list_is_what_is_written(place, capsys):
    problem.report_problem(place / "help.zip", place / "deploy", None, "hailo8", sure=True)
    said = capsys.readouterr().out
    pieces = packed(place / "help.zip")
    assert set(pieces) == {
        *("versions.json", "manifest.json", "current/acceleras.log", "current/hailo_sdk._host_.log"),
        *(f"out/{name}" for name in ("sdk.log", "steps.json", "effective.alls", "model.har.json")),
    }
    for name, content in pieces.items():
        (line,) = [line for line in said.splitlines() if line.split()[:1] == [name]]
        assert f"{len(content):,} bytes" in line
    facts = json.loads(pieces["versions.json"])
    assert facts["missing"] == [
        "out/compile_report.json: not there",
        "out/model_quantized.har: it is not a HAR, or is damaged (unexpected end of data): make it again, or "
        "copy it again",
    ]
    assert all(f"missing: {line}" in said for line in facts["missing"])
    assert (facts["numpy"], facts["cores"]) == (np.__version__, os.cpu_count())
    assert (
        facts["sdk"] == "not installed: no module hailo_sdk_client" and facts["environment"]["USER"] is True
    )


@pytest.mark.parametrize("answer", ["", "n", "yes"])
def test_on_a_terminal_it_asks(place, monkeypatch, capsys, answer):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(isatty=lambda: True))
    monkeypatch.setattr("builtins.input", lambda question: answer)
    status = problem.report_problem(place / "help.zip", place / "deploy", None, "hailo8", sure=False)
    said = capsys.readouterr()
    assert "out/sdk.log" in said.out and status == (0 if answer == "yes" else 1)
    assert (place / "help.zip").exists() == (answer == "yes")
    assert ("nothing was written" in said.err) == (answer != "yes")


def test_without_a_terminal_it_needs_to_be_told(place, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    with pytest.raises(UserError, match="look at the list, then add --yes"):
        problem.report_problem(place / "help.zip", place / "deploy", None, "hailo8", sure=False)
    assert not list(place.glob("*.zip"))


@pytest.mark.parametrize(
    ("target", "bundle", "out", "said"),
    [
        ("deploy", None, None, "which ends in .zip, not deploy"),
        ("old.zip", None, None, "old.zip is there already"),
        ("x.zip", "depoly", None, "there is no folder depoly"),
        ("x.zip", "deploy", "nowhere", "there is no folder nowhere"),
    ],
)
def test_wrong_arguments(place, target, bundle, out, said):
    (place / "old.zip").write_bytes(b"precious")
    arguments = [type(place)(name) if name else None for name in (target, bundle, out)]
    with pytest.raises(UserError, match=said):
        problem.report_problem(*arguments, "hailo8", sure=True)
    assert (place / "old.zip").read_bytes() == b"precious" and not (place / "x.zip").exists()


def test_of_a_large_log_head_and_tail_are_kept(place, monkeypatch):
    monkeypatch.setattr(problem, "HALF", 1000)
    lines = [f"line {number:05} zoraya" for number in range(10_000)]
    (place / "deploy/hailo8/sdk.log").write_text("\n".join(lines))
    (place / "acceleras.log").write_bytes("\ufeffein Wort von Zoraya\r\n".encode("utf-16-le"))
    (place / "hailo_sdk.x.log").write_bytes(b"start\nEpoch 1/4\rEpoch 2/4\rEpoch 3/4\rfailed\r\nend\n")
    problem.report_problem(place / "help.zip", place / "deploy", None, "hailo8", sure=True)
    pieces = packed(place / "help.zip")
    log = pieces["out/sdk.log"].decode().splitlines()
    whole = sum(len(line) + 1 for line in lines) - 1
    assert (log[0], log[-1]) == ("line 00000 <user>", "line 09999 <user>")
    assert f"... ({whole - 2000:,} bytes left out here)" in log and len(log) < 120
    assert {line for line in log if line.startswith("line")} <= {f"line {n:05} <user>" for n in range(10_000)}
    assert "ein Wort von <user>" in pieces["current/acceleras.log"].decode()
    assert pieces["current/hailo_sdk.x.log"].decode().split("\n") == [
        "start",
        "Epoch 3/4",
        "failed",
        "end",
        "",
    ]


def test_each_script_that_was_tried_and_the_rehearsal(place):
    for folder in ("hailo8/try_fast", "hailo8/try_zoraya", "rehearsal_hailo8"):
        (place / "deploy" / folder).mkdir()
        (place / "deploy" / folder / "compile_report.json").write_text("{broken by zoraya")
    problem.report_problem(place / "help.zip", place / "deploy", None, "hailo8", sure=True)
    pieces = packed(place / "help.zip")
    for folder in ("out/try_1", "out/try_2", "rehearsal"):
        assert pieces[f"{folder}/compile_report.json"] == b"{broken by <user>"


def test_the_sdk_is_asked_in_a_process_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path / "own"))
    (tmp_path / "own").mkdir()
    sdk, tensorflow = tmp_path / "own/hailo_sdk_client.py", tmp_path / "own/tensorflow.py"
    sdk.write_text("open('acceleras.log', 'w')\nprint('No GPU chosen')\n")
    tensorflow.write_text(
        "from types import SimpleNamespace as N\n__version__ = '2.18.0'\n"
        "config = N(list_physical_devices=lambda kind: [1, 2] if kind == 'GPU' else [])\n"
    )
    found, said = machine.asked_sdk()
    assert found == {"sdk": "imported", "tensorflow": "2.18.0", "tensorflow_gpus": 2}
    assert "No GPU chosen" in said and [path.name for path in tmp_path.iterdir()] == ["own"]
    sdk.write_text("import os\nprint('check failed', flush=True)\nos._exit(7)\n")
    found, said = machine.asked_sdk()
    assert (found["sdk"], said.strip()) == ("not imported: exit status 7", "check failed")
    sdk.write_text("import time\nprint('waiting', flush=True)\ntime.sleep(60)\n")
    monkeypatch.setattr(machine, "IMPORT_SECONDS", 1)
    assert machine.asked_sdk() == (
        {"sdk": "not imported within 1 s", "tensorflow": None, "tensorflow_gpus": None},
        "waiting\n",
    )


def test_a_gpu_that_nvidia_smi_sees(tmp_path, monkeypatch):
    program = tmp_path / "nvidia-smi"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert machine.machine()["gpus"] == "no nvidia-smi"
    program.write_text("#!/bin/sh\necho 'RTX A2000, 535.104.05, 12282 MiB'\n")
    program.chmod(0o755)
    assert machine.machine()["gpus"] == ["RTX A2000, 535.104.05, 12282 MiB"]
    program.write_text("#!/bin/sh\nexit 9\n")
    assert machine.machine()["gpus"] == "nvidia-smi failed: exit status 9"


def test_as_a_command_and_from_the_program_in_a_bundle(inside, tmp_path):
    """No SDK, no bundle, one log: the first hour at its worst."""
    (tmp_path / "acceleras.log").write_text("hello\n")
    stopped = inside("compile_hef.py", "--report-problem", "a.zip")
    assert "no terminal" in error_line(stopped) and "current/acceleras.log" in stopped.stdout
    write_program(tmp_path / "compile_hef.pyz")
    done = subprocess.run(
        [sys.executable, "compile_hef.pyz", "--report-problem", "a.zip", "--yes"],
        cwd=tmp_path,
        env=environment(None, sdk=False),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert set(packed(tmp_path / "a.zip")) == {"versions.json", "current/acceleras.log"}
    assert "missing: bundle: none was named" in done.stdout and "written: a.zip" in done.stdout
    again = inside("compile_hef.py", "--report-problem", "a.zip", "--yes")
    assert "is there already" in error_line(again)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("net/conv1 took 3 s at 12 MB/s, n/a and/or 1/2", "net/conv1 took 3 s at 12 MB/s, n/a and/or 1/2"),
        ("std::bad_alloc at 12:34:56, DFC 3.33.0", "std::bad_alloc at 12:34:56, DFC 3.33.0"),
        ("StatefulPartitionedCall/net/conv/Relu;net/b", "StatefulPartitionedCall/net/conv/Relu;net/b"),
        ("see conversion.html, np.log(x)", "see conversion.html, np.log(x)"),
        ("expected [0, 255], got [-1.0, 1.0]", "expected [0, 255], got [-1.0, 1.0]"),
        ("in /opt/a (copy)/b c/model.har: bad", "in <path>/model.har: bad"),
        ("~/x and ../y/z.png", "<path>"),  # too much is better than too little
        (r"D:\a\b.npy;C:/x", "<path>;<path>"),
        ("//nas/share/x: \\\\\\\\nas\\\\share\\\\x", "<path>: <path>"),
        ("Bob, bob_2 and Bobsled", "<user>, <user>_2 and Bobsled"),  # short names within words are words
        ("MARIANNE's marianne2 xmariannex", "<user>'s <user>2 x<user>x"),
        ("Jos\\u00e9 Jose\u0301 JOS\u00c9", "<user> <user> <user>"),
        ("jose, jos\ufffd, josã©, jos%C3%A9, b'jos\\xc3\\xa9'", "<user>, <user>, <user>, <user>, b'<user>'"),
        ("\u017fam and SAM", "<user> and <user>"),
        ("no GPU on box-3.lab.example, box-3, at LAB.example", "no GPU on <host>, <host>, at <host>"),
        ("b\x1b[1mo\x1b[0mb", "<user>"),
        ("root and user", "root and user"),
        ("A" * 300, "<data>"),
        ("ab " * 700, ("ab " * 700)[:2000] + " ... (100 characters left out)"),
    ],
)
def test_what_is_scrubbed_and_what_stays(text, left):
    assert (
        Scrubber(["Bob", "Marianne", "José", "Sam", "root"], ["localhost", "gpu", "box-3.lab.example"]).text(
            text
        )
        == left
    )


@pytest.mark.parametrize("unit", ["\\", "a@", '"/', "/a ", ".png", "C:\\a b"])
def test_long_texts_take_no_long_time(unit):
    """Patterns that begin again at each place would take minutes here, and did."""
    start = time.perf_counter()
    Scrubber(["bob"], []).text(unit * 20_000)
    assert time.perf_counter() - start < 6
