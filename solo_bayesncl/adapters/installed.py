"""Finds the installed solo-learn and returns its adapter.

Two releases install the package `solo`: 1.0.2 (PyPI, 2021) and main (GitHub, 1.0.3 and later). To
drop one, delete its adapter and its line in `_ADAPTERS`.
"""

import importlib
import importlib.metadata
import importlib.util
import itertools
import warnings
from functools import cache
from pathlib import Path

from solo_bayesncl.adapters.protocol import Adapter
from solo_bayesncl.errors import InputError

MISSING = """solo-learn is not installed. Install one of its two releases:
  1.0.2 from PyPI (its pins are for torch 1.9, so without them):
    pip install "setuptools<81" "solo-bayesncl[host]"
    pip install --no-deps solo-learn==1.0.2 lightning-bolts==0.7.0
  main from GitHub:
    git clone https://github.com/vturrisi/solo-learn
    pip install "setuptools<81" wheel && pip install --no-build-isolation ./solo-learn"""

# file that only one release has -> adapter of that release
_ADAPTERS = {
    "data/pretrain_dataloader.py": "solo_bayesncl.adapters.main",
    "utils/pretrain_dataloader.py": "solo_bayesncl.adapters.v1_0_2",
}


def find() -> tuple[str, str] | None:
    """(version, adapter module) of the installed solo-learn without importing it, or None."""
    spec = importlib.util.find_spec("solo")
    folders = (spec and spec.submodule_search_locations) or []
    for folder, (marker, module) in itertools.product(folders, _ADAPTERS.items()):
        if (Path(folder) / marker).exists():
            try:
                return importlib.metadata.version("solo-learn"), module
            except importlib.metadata.PackageNotFoundError:
                return "from source", module
    return None


def scripts_use_hydra() -> bool:
    """Whether the scripts of the installed release take Hydra's command line: main's do."""
    release = find()
    return release is not None and release[1].endswith("adapters.main")


@cache
def adapter() -> Adapter:
    """The adapter of the installed solo-learn; imports solo-learn, which takes seconds.

    Raises:
        InputError: if no solo-learn is installed, or it cannot be imported.
    """
    release = find()
    if release is None:
        raise InputError(MISSING)
    version, module = release
    try:
        # recorded, so not shown: deprecations in old dependencies that a user cannot change
        with warnings.catch_warnings(record=True):
            return importlib.import_module(module)
    except Exception as error:  # torchvision for another torch raises RuntimeError
        raise InputError(
            f"solo-learn {version} is installed but cannot be imported: {error}\n"
            "Run `solo-bayesncl doctor` to see what it needs."
        ) from error
