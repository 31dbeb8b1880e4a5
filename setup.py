"""What pyproject.toml cannot say: which folders of the top level a wheel holds, as data of the library.

fer_hailo/common/resources.py finds them again.
"""

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

RELEASE = [
    "*.tflite",
    "manifest.json",
    "labels.txt",
    "config.yaml",
    "environment.json",
    "confidence.json",
    "selection.json",
    "*.md",
]
HELD = {  # folder: the files of it
    "alls": ["*.alls"],
    "configs": ["*.yaml"],
    "configs/base": ["*.yaml"],
    "configs/experiments": ["*.yaml"],
    "configs/papers": ["*.yaml"],
    "fer2013_keras_hailo/released": RELEASE,  # but the .keras, which is as large as all of the wheel
    "fer2013_keras_hailo/released_minimalistic": RELEASE,
}
PACKAGES = {"fer_hailo.shipped." + folder.replace("/", "."): folder for folder in HELD}


class Library(build_py):
    """Modules without the tests that lie beside them."""

    def find_package_modules(self, package, package_dir):
        found = super().find_package_modules(package, package_dir)
        return [module for module in found if not module[1].startswith(("test_", "conftest"))]


setup(
    cmdclass={"build_py": Library},
    packages=[*find_packages(include=["fer_hailo", "fer_hailo.*"]), *PACKAGES],
    package_dir=PACKAGES,
    package_data={
        "fer_hailo.training.models": ["networks.csv"],
        "": ["recipe.yaml"],
        "fer_hailo.board": ["page.html", "yunet/*"],
        **{package: HELD[folder] for package, folder in PACKAGES.items()},
    },
)
