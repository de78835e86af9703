"""Says what is installed, what that allows and what to do about the rest."""

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
    """None."""


def run(args: argparse.Namespace) -> int:
    """The command. Exit status 0 only if pretraining can run, else 2."""
    found = adapters.find()
    console.print(
        f"solo-bayesncl {__version__}, Python {platform.python_version()}, {sys.platform}"
    )
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("", "found", "what it allows"):
        table.add_column(heading)
    problems = []

    works = False
    if found is None:
        problems.append(adapters.MISSING)
        table.add_row("solo-learn", "no", "-")
    else:
        try:
            adapter = adapters.adapter()
        except InputError as error:
            problems.append(f"{error}\n{_cure(found[1])}")
            table.add_row("solo-learn", f"{found[0]}, broken", "-")
        else:
            works = True
            table.add_row("solo-learn", found[0], f"pretrain, linear, evaluate ({adapter.NAME})")
    if adapters.scripts_use_hydra():
        table.add_row("Hydra plugin", *_plugin())
    for package in ("torch", "torchvision", "torchmetrics", "timm"):
        table.add_row(package, _version(package), "")
    lightning = [f"{n} {_version(n)}" for n in ("lightning", "pytorch-lightning") if _has(n)]
    table.add_row("lightning", ", ".join(lightning) or "no", "")
    table.add_row("CUDA", *_cuda())
    table.add_row("DALI", *_dali())
    for package, allows, cure in (
        ("h5py", "data.format=h5 (solo-learn main)", "pip install h5py"),
        ("wandb", "wandb.enabled=True", "pip install wandb"),
        ("tensorboard", "curves in TensorBoard", "pip install tensorboard"),
    ):
        table.add_row(package, _version(package), allows if _has(package) else f"for it: {cure}")

    console.print(table)
    for problem in problems:
        console.print(f"\n{problem}", markup=False)
    console.print("\nPretraining can run." if works else "\nPretraining cannot run.")
    return 0 if works else 2


def _cure(adapter: str) -> str:
    """The command that completes the installed release."""
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

    listed = [plugin.__module__ for plugin in Plugins.instance().discover(SearchPathPlugin)]
    if "hydra_plugins.solo_bayesncl" in listed:
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
