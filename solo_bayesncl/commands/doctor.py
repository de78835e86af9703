"""Lists what is installed, what that allows and how to install the rest."""

import argparse
import importlib
import platform
import sys
from importlib.metadata import PackageNotFoundError, version

from rich.table import Table

from solo_bayesncl import __version__, adapters
from solo_bayesncl.console import results as console
from solo_bayesncl.errors import InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """There are no options."""


def run(args: argparse.Namespace) -> int:
    """Runs the command. Exit status 0 only if pretraining can run, else 2."""
    console.print(
        f"solo-bayesncl {__version__}, Python {platform.python_version()}, {sys.platform}"
    )
    solo_learn, problem = _solo_learn()
    table = Table("", "found", "what it allows", box=None, padding=(0, 2, 0, 0))
    table.add_row("solo-learn", *solo_learn)
    if adapters.scripts_use_hydra():
        table.add_row("Hydra plugin", *_plugin())
    for package in ("torch", "torchvision", "torchmetrics", "timm"):
        table.add_row(package, _version(package))
    lightning = [f"{n} {_version(n)}" for n in ("lightning", "pytorch-lightning") if _has(n)]
    table.add_row("lightning", ", ".join(lightning) or "no")
    table.add_row("CUDA", *_cuda())
    table.add_row("DALI", *_dali())
    for package, allows in (
        ("h5py", "data.format=h5 (solo-learn main)"),
        ("wandb", "wandb.enabled=True"),
        ("tensorboard", "curves in TensorBoard"),
    ):
        note = allows if _has(package) else f"for it: pip install {package}"
        table.add_row(package, _version(package), note)
    console.print(table)
    if problem:
        console.print(f"\n{problem}\n\nPretraining cannot run.")
        return 2
    console.print("\nPretraining can run.")
    return 0


def _solo_learn() -> tuple[tuple[str, str], str]:
    """(what is found, what it allows) of solo-learn, and why it cannot be used, "" if it can."""
    found = adapters.find()
    if found is None:
        return ("no", "-"), adapters.MISSING
    release, module = found
    try:
        adapter = adapters.adapter()
    except InputError as error:
        return (f"{release}, broken", "-"), f"{error}\n{_dependencies(module)}"
    return (release, f"pretrain, linear, evaluate ({adapter.NAME})"), ""


def _dependencies(adapter: str) -> str:
    """How to install what the installed release needs."""
    if adapter.endswith("v1_0_2"):
        return (
            'Its dependencies are those of the extra "host":\n'
            '  pip install "solo-bayesncl[host]"\n'
            "  pip install --no-deps lightning-bolts==0.7.0"
        )
    return 'Its dependencies are in its requirements.txt; lightning 2.1 also needs "setuptools<81".'


def _has(package: str) -> bool:
    return _version(package) != "no"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "no"


def _plugin() -> tuple[str, str]:
    from hydra.core.plugins import Plugins
    from hydra.plugins.search_path_plugin import SearchPathPlugin

    plugins = [plugin.__module__ for plugin in Plugins.instance().discover(SearchPathPlugin)]
    if "hydra_plugins.solo_bayesncl" in plugins:
        return "yes", "solo-learn's own main_pretrain.py and main_linear.py, unmodified"
    return "no", "solo-learn's own scripts; for it: install solo-bayesncl again"


def _cuda() -> tuple[str, str]:
    import torch

    if not torch.cuda.is_available():
        return "no", "accelerator=auto runs on the CPU"
    names = {torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())}
    return f"{torch.version.cuda}", f"{torch.cuda.device_count()} device(s): {', '.join(names)}"


def _dali() -> tuple[str, str]:
    import torch

    torch_cuda = (torch.version.cuda or "").partition(".")[0]  # "" in a build for the CPU
    fitting = f"nvidia-dali-cuda{torch_cuda or 13}0"
    try:
        dali = importlib.import_module("nvidia.dali")
    except ImportError as error:
        if error.name in ("nvidia", "nvidia.dali"):
            return "no", f"data.format=dali; for it: pip install {fitting}"
        return "broken", f"{error}"
    dali_cuda = str(dali.__cuda_version__)[:2]
    device = "gpu or cpu" if torch.cuda.is_available() else "cpu"
    allows = f"data.format=dali, dali.device={device}"
    if torch_cuda not in ("", dali_cuda):
        # both packages write into one folder, so what is left of either would be in the way
        allows += (
            f". But torch is built for CUDA {torch_cuda}: "
            f"pip uninstall nvidia-dali-cuda{dali_cuda}0 {fitting}; pip install {fitting}"
        )
    return f"{dali.__version__} for CUDA {dali_cuda}", allows
