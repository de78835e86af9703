"""Lists what is installed, what that allows and how to install the rest."""

import argparse
import importlib
import platform
import runpy
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from rich.table import Table

from solo_bayesncl import __version__, adapters
from solo_bayesncl.adapters.requirements import obstacles, unmet
from solo_bayesncl.console import results as console
from solo_bayesncl.cuda_driver import cuda_driver
from solo_bayesncl.errors import InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--import",
        dest="imports",
        action="store_true",
        help="import solo-learn, torch and DALI, too: takes seconds, and finds what their metadata "
        "do not tell",
    )


def run(args: argparse.Namespace) -> int:
    """Runs the command.

    Returns:
        Exit status 2 if pretraining cannot run, else 0. Without --import, what only an import can
        find is not found.
    """
    console.print(
        f"solo-bayesncl {__version__}, Python {platform.python_version()}, {sys.platform}"
    )
    solo_learn, problem = _solo_learn(args.imports)
    table = Table("", "found", "what it allows", box=None, padding=(0, 2, 0, 0))
    table.add_row("solo-learn", *solo_learn)
    if adapters.scripts_use_hydra():
        table.add_row("Hydra plugin", *_plugin())
    for package in ("torch", "torchvision", "torchmetrics", "timm"):
        table.add_row(package, _version(package))
    lightning = [f"{n} {_version(n)}" for n in ("lightning", "pytorch-lightning") if _has(n)]
    table.add_row("lightning", ", ".join(lightning) or "no")
    cuda = _imported_cuda() if args.imports else _cuda()
    table.add_row("CUDA", *cuda)
    table.add_row("DALI", *_dali(args.imports, on_gpu=cuda[0] != "no"))
    for package, allows in (
        ("h5py", "data.format=h5 (solo-learn main)"),
        ("wandb", "wandb.enabled=True"),
        ("tensorboard", "curves in TensorBoard"),
    ):
        note = allows if _has(package) else f"for it: pip install {package}"
        table.add_row(package, _version(package), note)
    console.print(table)
    if problem:
        console.print(f"\n{problem}\n\nPretraining cannot run.{_hint(args.imports)}")
        return 2
    console.print(f"\nPretraining can run.{_hint(args.imports)}")
    return 0


def _hint(imported: bool) -> str:
    """How sure the verdict is."""
    if imported:
        return ""
    return (
        " This is read from versions and dependencies, nothing was imported: "
        "`solo-bayesncl doctor --import` does, in 5 to 20 seconds."
    )


def _solo_learn(imports: bool) -> tuple[tuple[str, str], str]:
    """(what is found, what it allows) of solo-learn, and why it cannot be used, "" if it can."""
    found = adapters.find()
    if found is None:
        return ("no", "-"), adapters.MISSING
    release, module = found
    problems = obstacles(module)
    if imports:
        try:
            adapters.adapter()
        except InputError as error:
            problems = [str(error), *problems]
        else:
            problems = []
    if problems:
        return (f"{release}, broken", "-"), "\n".join([*problems, _dependencies(module)])
    return (release, "pretrain, linear, evaluate"), ""


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


def _import_error(module: str) -> str:
    """Why a module cannot be imported, "" if it can."""
    try:
        importlib.import_module(module)
    except Exception as error:  # of any kind, where libraries do not fit each other
        return f"{error}" or type(error).__name__
    return ""


def _plugin() -> tuple[str, str]:
    if error := _import_error("hydra.core.plugins"):
        return "no", f"Hydra cannot be imported: {error}"
    from hydra.core.plugins import Plugins
    from hydra.plugins.search_path_plugin import SearchPathPlugin

    plugins = [plugin.__module__ for plugin in Plugins.instance().discover(SearchPathPlugin)]
    if "hydra_plugins.solo_bayesncl" in plugins:
        return "yes", "solo-learn's own main_pretrain.py and main_linear.py, unmodified"
    return "no", "solo-learn's own scripts; for it: install solo-bayesncl again"


def _cuda() -> tuple[str, str]:
    """Of the driver and of the version that torch is built for."""
    torch_cuda, driver = _torch_cuda(), cuda_driver()
    on_cpu = "accelerator=auto runs on the CPU"
    if driver is None:
        return "no", on_cpu
    devices = _devices(driver.devices)
    if not torch_cuda:
        return "no", f"{on_cpu}: {devices}, but torch is built without CUDA"
    if int(torch_cuda.partition(".")[0]) > driver.cuda:
        reason = f"torch is built for CUDA {torch_cuda}, the driver is for {driver.cuda}"
        return "no", f"{on_cpu}: {devices}, but {reason}. Update the driver"
    return torch_cuda, devices


def _imported_cuda() -> tuple[str, str]:
    if error := _import_error("torch"):
        return "no", f"torch cannot be imported: {error}"
    import torch

    if not torch.cuda.is_available():
        return "no", "accelerator=auto runs on the CPU"
    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return f"{torch.version.cuda}", _devices(names)


def _devices(names: Sequence[str]) -> str:
    return f"{len(names)} device(s): {', '.join(dict.fromkeys(names))}"


def _torch_cuda() -> str:
    """Version of CUDA that torch is built for, "" in a build for the CPU or a damaged one."""
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        return ""
    try:
        return runpy.run_path(str(Path(spec.origin).with_name("version.py")))["cuda"] or ""
    except (OSError, SyntaxError, KeyError):
        return ""


def _dali(imports: bool, on_gpu: bool) -> tuple[str, str]:
    torch_cuda = _torch_cuda().partition(".")[0]
    fitting = f"nvidia-dali-cuda{torch_cuda or 13}0"
    builds = [cuda for cuda in range(11, 20) if _has(f"nvidia-dali-cuda{cuda}0")]
    if not builds:
        return "no", f"data.format=dali; for it: pip install {fitting}"
    packages = [f"nvidia-dali-cuda{cuda}0" for cuda in builds]
    problems = list(unmet(packages, "DALI"))
    if imports:
        error = _import_error("nvidia.dali")
        problems = [error] if error else []
    if problems:
        return "broken", " ".join(problems)
    allows = f"data.format=dali, dali.device={'gpu or cpu' if on_gpu else 'cpu'}"
    others = [package for package in packages if package != fitting]
    if others and (torch_cuda or len(packages) > 1):
        # all packages write into one folder, so what is left of one would be in the way
        allows += (
            f". But torch is built for CUDA {torch_cuda or '-, the CPU'}: "
            f"pip uninstall {' '.join([*others, fitting])}; pip install {fitting}"
        )
    found = ", ".join(str(cuda) for cuda in builds)
    return f"{_version(packages[0])} for CUDA {found}", allows
