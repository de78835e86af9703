"""The installed solo-learn behind one interface.

Two releases install the package `solo`: 1.0.2 (PyPI, 2021) and main (GitHub, 1.0.3 and later).
Their differences live in one module each; nothing else asks which is installed. The contract is
main's: a method is `Method(cfg: DictConfig)` with main's attributes and hooks, and a recipe means
on both what it means on main. Both modules offer:

- `NAME`, `pl` (the Lightning namespace), `BaseMethod`, `SimCLR`, `Checkpointer`, `KNN`;
- `METHODS` (the registry), `method_names()`, `backbone_names()`, `FORMATS`;
- `method(name)`: a contrastive method of the host with main's contract, None if it lacks it;
- `mend()`: puts right what is wrong in modules that the host's own scripts use, too; for commands
  of this package only;
- `check(cfg)`: refuses what the release lacks;
- `pretrain_cfg(cfg)`, `linear_cfg(cfg)`: defaults and learning-rate scaling;
- `build(cfg)`, `backbone(name, method, kwargs, cifar_stem)`, `linear_model(backbone, cfg, ...)`;
- `pretrain_transform(cfg)`, `pretrain_loader(cfg)`, `labelled_loaders(cfg, train, val transform)`;
- `dali_pretrain(cfg)`, `dali_linear(cfg, train_loader)`: data modules;
- `precision(value)`, `strategy(name)`: what the release's Lightning calls them.
"""

import importlib
import importlib.metadata
import importlib.util
import warnings
from functools import cache
from pathlib import Path
from types import ModuleType

from solo_bayesncl.errors import InputError

MISSING = """solo-learn is not installed. Install one of its two releases:
  1.0.2 from PyPI (its pins are for torch 1.9, so without them):
    pip install "setuptools<81" "solo-bayesncl[host]"
    pip install --no-deps solo-learn==1.0.2 lightning-bolts==0.7.0
  main from GitHub:
    git clone https://github.com/vturrisi/solo-learn
    pip install "setuptools<81" wheel && pip install --no-build-isolation ./solo-learn"""

# the module that tells the releases apart, and the adapter for each
_LAYOUTS = {
    "data/pretrain_dataloader.py": "solo_bayesncl.adapters.main",
    "utils/pretrain_dataloader.py": "solo_bayesncl.adapters.v1_0_2",
}


def find() -> tuple[str, str] | None:
    """(version, adapter module) of the installed solo-learn without importing it, or None."""
    spec = importlib.util.find_spec("solo")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for marker, module in _LAYOUTS.items():
            if (Path(folder) / marker).exists():
                try:
                    version = importlib.metadata.version("solo-learn")
                except importlib.metadata.PackageNotFoundError:
                    version = "from source"
                return version, module
    return None


def scripts_use_hydra() -> bool:
    """Whether the scripts of the installed release take Hydra's command line: main's do."""
    found = find()
    return found is not None and found[1].endswith("adapters.main")


@cache
def adapter() -> ModuleType:
    """The adapter of the installed solo-learn; imports solo-learn, which takes seconds.

    Raises:
        InputError: if no solo-learn is installed, or it cannot be imported.
    """
    found = find()
    if found is None:
        raise InputError(MISSING)
    version, module = found
    try:
        # recorded, so not shown: deprecations in old dependencies, nothing a user could change
        with warnings.catch_warnings(record=True):
            return importlib.import_module(module)
    except ImportError as error:
        raise InputError(
            f"solo-learn {version} is installed but cannot be imported: {error}\n"
            "Run `solo-bayesncl doctor` to see what it needs."
        ) from error
