"""What a command imports before it has something to do: the slow packages are left out."""

import importlib
import json
import subprocess
import sys

from conftest import RECIPES, ROOT, environment

from solo_bayesncl.__main__ import COMMANDS

SLOW = ("torch", "torchvision", "timm", "sklearn", "scipy", "matplotlib", "solo", "lightning",
        "pytorch_lightning", "torchmetrics", "nvidia")  # fmt: skip
HYDRA = ("hydra", "omegaconf", "pydantic")

# runs each command line in one process; which modules are imported after each, is its output
RUN_ALL = """
import json, sys
from solo_bayesncl.__main__ import main
imported = []
for arguments in json.loads(sys.argv[1]):
    try:
        main(arguments)
    except SystemExit:
        pass
    imported.append(sorted(name for name in sys.modules if "." not in name))
print(json.dumps(imported), file=sys.stderr)
"""


def imported_after(commands: list[list[str]]) -> list[set[str]]:
    """Packages that a new process has imported after each of several commands."""
    done = subprocess.run(
        [sys.executable, "-c", RUN_ALL, json.dumps(commands)],
        capture_output=True,
        text=True,
        check=True,
        env=environment(),
    )
    return list(map(set, json.loads(done.stderr.splitlines()[-1])))


def slow_ones(packages: set[str], slow: tuple[str, ...] = SLOW) -> set[str]:
    return packages.intersection(slow)


def test_help_imports_nothing_slow():
    commands = [["--help"], *([name, "--help"] for name in COMMANDS), ["pretrain", "-h"]]
    for command, packages in zip(commands, imported_after(commands), strict=True):
        assert not slow_ones(packages, SLOW + HYDRA), command


def test_wrong_command_lines_import_nothing_slow(tmp_path):
    commands = [
        ["evalute"],
        ["evaluate"],
        ["evaluate", "--nope"],
        ["evaluate", "/nope"],
        ["evaluate", "/nope", "--workers", "-1"],
        ["explain", "/nope", "--top", "0"],
        ["explain", "/nope"],
        ["export", "/nope", "--format", "timm", "--out", str(tmp_path / "x")],
        ["import", "/nope", "--out", str(tmp_path / "x")],
        ["data", "digits"],
        ["data", "digits", "--out", str(tmp_path / "digits"), "--size", "3"],
        ["demo", "--epochs", "0"],
        ["doctor", "--nope"],
        ["linear"],
        ["pretrain"],
        ["pretrain", "--config-nme", "x"],
        ["pretrain", "--config-path", "/nope", "--config-name", "x"],
        ["pretrain", "--config-path", str(RECIPES / "pretrain/custom"), "--config-name", "nope"],
        ["compare", "--config-name", "nope"],
    ]
    for command, packages in zip(commands, imported_after(commands), strict=True):
        assert not slow_ones(packages), command


def test_wrong_recipes_are_refused_before_solo_learn_is_imported(images):
    folders = (f"{RECIPES}/pretrain/custom", f"{RECIPES}/linear/custom")
    pretrain, linear = (["--config-path", folder, "--config-name", "ncl"] for folder in folders)
    data = [f"data.train_path={images}/train", f"data.val_path={images}/val"]
    commands = [
        ["pretrain", *pretrain],
        ["pretrain", *pretrain, "optimizer.lr=x"],
        ["pretrain", *pretrain, "data.train_path=/nope", "data.val_path=/nope"],
        ["linear", *linear],
        ["linear", *linear, *data, "pretrained_feature_extractor=/nope"],
        ["compare", "--config-name", "demo", "seeds=1", "data.train_path=/nope"],
        ["compare", "--config-name", "demo", "pretrain=/nope"],
    ]
    for command, packages in zip(commands, imported_after(commands), strict=True):
        assert not slow_ones(packages) - {"torch"}, command


def test_doctor_imports_nothing_slow():
    (packages,) = imported_after([["doctor"]])
    assert not slow_ones(packages)


def test_an_encoder_that_is_not_there_is_refused_before_solo_learn_is_imported():
    code = """
import sys, solo_bayesncl
from solo_bayesncl.errors import InputError
try:
    solo_bayesncl.load_encoder("/nope")
except InputError:
    print(*sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    packages = set(done.stdout.split())
    assert "torch" in packages
    assert not packages & {"solo", "lightning", "pytorch_lightning", "sklearn", "matplotlib"}


def test_rehearsal_of_the_benchmark_writes_its_rows(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    start, ratios = importlib.import_module("start"), importlib.import_module("ratios")
    monkeypatch.setattr(ratios, "OUT", tmp_path)
    monkeypatch.setattr(sys, "argv", ["start.py", "--tiny"])
    start.main()
    rows = json.loads((tmp_path / "start.json").read_text())["rows"]
    assert [row["what"] for row in rows] == ["`evaluate --help`", "`doctor`"]
    assert all(0 < row["value"] < 300 and row["unit"] == "s" for row in rows)
