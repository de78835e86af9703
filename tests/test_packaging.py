"""Source and binary distribution, and what an installation has. Nothing is downloaded."""

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from conftest import RECIPES, ROOT

from solo_bayesncl import __version__

SOURCES = (
    *("setup.py", "pyproject.toml", "MANIFEST.in", "Makefile", "pytest.ini", "ruff.toml"),
    *("README.md", "CHANGELOG.md", "CITATION.cff", "LICENSE"),
    *("solo_bayesncl", "hydra_plugins", "scripts", "tests", "docs", "benchmarks"),
)

INSTALLED = """
import hydra_plugins.solo_bayesncl, json
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin

plugins = [plugin.__module__ for plugin in Plugins.instance().discover(SearchPathPlugin)]

import solo_bayesncl
from solo_bayesncl.data.imagenet100 import imagenet100_classes
from solo_bayesncl.recipes.compose import compose_recipe
from solo_bayesncl.recipes.search_path import recipe_root

cfg = compose_recipe("scripts/pretrain/cifar", "bayesncl_gs", [])
probe = compose_recipe("scripts/linear/demo", "ncl", [])
print(json.dumps({
    "files": [hydra_plugins.solo_bayesncl.__file__, solo_bayesncl.__file__],
    "plugins": plugins,
    "recipes": sorted(str(p.relative_to(recipe_root())) for p in recipe_root().rglob("*.yaml")),
    "imagenet100": len(imagenet100_classes()),
    "composed": [cfg.method_kwargs.gate_type, cfg.augmentations[0].crop_size, probe.name],
}))
"""

REGISTERED = """
import json, solo_bayesncl
from solo.methods import METHODS

before = set(METHODS)
solo_bayesncl.register()
print(json.dumps([solo_bayesncl.__file__, sorted(set(METHODS) - before)]))
"""


def run(*command: object, cwd: Path) -> str:
    """What a program prints. It gets the environment of a person who has just opened a shell."""
    ours = ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE")
    done = subprocess.run(
        [*map(str, command)],
        cwd=cwd, env={k: v for k, v in os.environ.items() if k not in ours},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout


def last_line(output: str):
    return json.loads(output.splitlines()[-1])


def copy_source(folder: Path) -> Path:
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        folder.mkdir(exist_ok=True)
        copy(ROOT / name, folder / name)
    return folder


class Environment:
    """A virtual environment on top of this one, which lends it pip and the dependencies."""

    def __init__(self, folder: Path) -> None:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
        self.bin = folder / "bin"
        (self.site,) = folder.glob("lib/*/site-packages")
        below = [entry for entry in sys.path if entry.endswith("site-packages")]
        (self.site / "below.pth").write_text(
            "".join(f"import site; site.addsitedir({entry!r})\n" for entry in below)
        )

    def install(self, *arguments: object) -> None:
        # the package is installed below, too: only what is installed here must count
        options = ("--quiet", "--no-deps", "--no-build-isolation", "--ignore-installed")
        run(self.bin / "python", "-m", "pip", "install", *options, *arguments, cwd=self.site)


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> tuple[Path, str]:
    """The folder with sdist and wheel, the latter built from the former; what was printed."""
    folder = tmp_path_factory.mktemp("built")
    source = copy_source(folder / "source")
    return folder, run(
        sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, source, cwd=folder
    )


def contents(wheel: Path) -> dict[str, int]:
    """The checksum of every file."""
    with zipfile.ZipFile(wheel) as archive:
        return {member.filename: member.CRC for member in archive.infolist()}


def test_distributions_are_built_without_warnings_and_fit_for_pypi(built):
    folder, output = built
    assert not re.findall("(?i).*(?:warning|deprecat|no (?:previously|files)).*", output)
    distributions = [*folder.glob("*.tar.gz"), *folder.glob("*.whl")]
    assert len(distributions) == 2
    run(sys.executable, "-m", "twine", "check", "--strict", *distributions, cwd=folder)


def test_the_sdist_gives_the_wheel_that_the_clone_gives(built, tmp_path):
    (from_sdist,) = built[0].glob("*.whl")
    source = copy_source(tmp_path / "source")
    build = ("-m", "build", "--no-isolation", "--wheel", "--outdir", tmp_path, source)
    run(sys.executable, *build, cwd=tmp_path)
    (from_clone,) = tmp_path.glob("*.whl")
    assert contents(from_sdist) == contents(from_clone)


def test_the_wheel_has_neither_tests_nor_tools(built):
    (wheel,) = built[0].glob("*.whl")
    folders = {name.split("/")[0] for name in contents(wheel)}
    assert {name for name in folders if not name.endswith(".dist-info")} == {
        "hydra_plugins",
        "solo_bayesncl",
    }


@pytest.mark.parametrize("kind", ["wheel", "editable", "strict"])
def test_an_installation_has_recipes_and_plugin(built, tmp_path, kind):
    """Also where the clone is editable; used from a folder outside of it."""
    environment = Environment(tmp_path / "environment")
    if kind == "wheel":
        expected = environment.site
        environment.install(*built[0].glob("*.whl"))
    else:
        expected = copy_source(tmp_path / "source")
        strict = ["--config-settings=editable_mode=strict"] if kind == "strict" else []
        environment.install(*strict, "--editable", expected)
    found = last_line(run(environment.bin / "python", "-c", INSTALLED, cwd=tmp_path))
    assert all(Path(file).is_relative_to(expected) for file in found["files"])
    assert found["plugins"] == ["hydra_plugins.solo_bayesncl"]
    assert found["recipes"] == sorted(str(p.relative_to(RECIPES)) for p in RECIPES.rglob("*.yaml"))
    assert found["imagenet100"] == 100
    assert found["composed"] == ["gumbel_sigmoid", 32, "ncl-demo-linear"]


def test_the_installed_wheel_has_the_command_and_registers_the_methods(built, tmp_path):
    environment = Environment(tmp_path / "environment")
    environment.install(*built[0].glob("*.whl"))
    version = run(environment.bin / "solo-bayesncl", "--version", cwd=tmp_path)
    assert version == f"solo-bayesncl {__version__}\n"
    file, registered = last_line(run(environment.bin / "python", "-c", REGISTERED, cwd=tmp_path))
    assert Path(file).is_relative_to(environment.site)
    assert {"ncl", "bayesncl"} <= {*registered}


@pytest.mark.skipif(
    platform.system() != "Linux" or not shutil.which("make"), reason="needs make, and DALI's Linux"
)
@pytest.mark.parametrize(
    ("torch", "cuda", "extras"), [("cpu", False, "host,test"), ("pypi", True, "host,dali,test")]
)
def test_setup_for_the_cpu_installs_no_cuda_libraries(torch, cuda, extras):
    command = ["make", "--dry-run", "--always-make", "setup", f"TORCH={torch}"]
    environment = {name: os.environ[name] for name in os.environ.keys() - {"MAKEFLAGS"}}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    before, package, _ = done.stdout.partition(f'--editable ".[{extras}]"')
    assert package
    assert ("--index-url https://download.pytorch.org/whl/cpu" in before) != cuda
