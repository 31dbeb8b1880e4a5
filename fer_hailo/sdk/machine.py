"""What the SDK machine is: versions, memory, cores, GPU; nothing that names it.

The SDK itself is asked in a process of its own.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import fer_hailo

PACKAGES = re.compile(
    r"hailo|tensorflow|keras|numpy|onnx|protobuf|flatbuffers|nvidia-|ai[-_]edge|tflite", re.I
)
SDK, FRAMEWORK = "hailo_sdk_client", "tensorflow"
IMPORT_SECONDS = 180  # the first import runs the SDK's own check of the system
# In this order: the SDK wants to be imported before TensorFlow
ASK = (
    f"import {SDK}, {FRAMEWORK} as tf\n"
    "print('TF GPUS', len(tf.config.list_physical_devices('GPU')), tf.__version__)"
)
ASKED = re.compile(r"^TF GPUS (\d+) (\S+)$", re.M)
NOT_INSTALLED = f"not installed: no module {SDK}"


def machine() -> dict[str, Any]:
    """What can be told without the SDK: plain JSON values, without a name of the machine or of anybody.

    memory_gib, memory_free_gib: None where the system does not tell. gpus: as nvidia-smi lists them.
    environment: which settings that matter are there, without their values.
    """
    return {
        "fer_hailo": fer_hailo.__version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "packages": _packages(),
        "system": platform.system(),
        "distribution": _distribution(),
        "kernel": platform.release(),
        "architecture": platform.machine(),
        "c_library": " ".join(platform.libc_ver()),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "cores_usable": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        **_memory(),
        "container": Path("/.dockerenv").exists() or Path("/run/.containerenv").exists(),
        "wsl": "microsoft" in platform.release().lower(),
        "gpus": _gpus(),
        "environment": {
            name: name in os.environ
            for name in ("USER", "LD_LIBRARY_PATH", "CONDA_PREFIX", "VIRTUAL_ENV", "CUDA_VISIBLE_DEVICES")
        },
    }


def asked_sdk() -> tuple[dict[str, Any], str]:
    """Import the SDK and TensorFlow in a process of their own, where a crash or a hang harms nobody.

    Returns what came of it, and all that was printed. sdk: "imported", or why not; tensorflow: its version;
    tensorflow_gpus: how many it sees, None where it could not be asked.
    """
    if importlib.util.find_spec(SDK) is None:
        return {"sdk": NOT_INSTALLED, "tensorflow": None, "tensorflow_gpus": None}, ""
    paths = os.pathsep.join(os.path.abspath(path) for path in sys.path if path)
    # The SDK leaves its logs in the folder that it is imported in
    with tempfile.TemporaryDirectory() as folder:
        try:
            done = subprocess.run(
                [sys.executable, "-c", ASK],
                cwd=folder,
                env=os.environ | {"PYTHONPATH": paths},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=IMPORT_SECONDS,
            )
            said = done.stdout.decode("utf-8", "replace")
            outcome = f"not imported: exit status {done.returncode}"
        except subprocess.TimeoutExpired as error:
            said = (error.stdout or b"").decode("utf-8", "replace")
            outcome = f"not imported within {IMPORT_SECONDS} s"
    found = ASKED.search(said)
    if not found:
        return {"sdk": outcome, "tensorflow": None, "tensorflow_gpus": None}, said
    return {"sdk": "imported", "tensorflow": found[2], "tensorflow_gpus": int(found[1])}, said


def _packages() -> dict[str, str]:
    """Versions of the installed packages that have to do with the compiler."""
    found = {}
    for package in importlib.metadata.distributions():
        name = package.metadata["Name"] if package.metadata else None
        if name and PACKAGES.match(name):
            found[name] = package.version
    return dict(sorted(found.items()))


def _distribution() -> str | None:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME")
    except OSError:
        return None


def _processor() -> str | None:
    found = re.search(r"^model name\s*:\s*(.+)$", _read("/proc/cpuinfo"), re.M)
    return found[1] if found else platform.processor() or None


def _memory() -> dict[str, float | None]:
    kilobytes = dict(re.findall(r"^(MemTotal|MemAvailable):\s*(\d+) kB", _read("/proc/meminfo"), re.M))
    names = {"memory_gib": "MemTotal", "memory_free_gib": "MemAvailable"}
    return {
        key: round(int(kilobytes[name]) / (1 << 20), 1) if name in kilobytes else None
        for key, name in names.items()
    }


def _gpus() -> list[str] | str:
    """Name, driver and memory of each GPU, or why nvidia-smi does not tell."""
    program = shutil.which("nvidia-smi")
    if not program:
        return "no nvidia-smi"
    fields = "--query-gpu=name,driver_version,memory.total"
    try:
        done = subprocess.run(
            [program, fields, "--format=csv,noheader"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=20,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"nvidia-smi failed: {type(error).__name__}"
    said = done.stdout.decode("utf-8", "replace").strip()
    return said.splitlines() if done.returncode == 0 else f"nvidia-smi failed: exit status {done.returncode}"


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
