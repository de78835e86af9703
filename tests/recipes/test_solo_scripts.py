"""solo-learn's own scripts, unmodified, with this package installed beside them.

Those of solo-learn main are not in its wheel. Tests that need them take a checkout of it from the
environment variable SOLO_LEARN_CHECKOUT (a folder with main_pretrain.py) and are skipped without.
"""

import json
import os
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch
from conftest import RECIPES, ROOT, only_run, tiny
from their_programs import last_line, on_main, python, write

from solo_bayesncl import adapters
from solo_bayesncl.__main__ import main
from solo_bayesncl.commands.script import run
from solo_bayesncl.errors import InputError

HYDRA_PROGRAM = """
import json, sys
import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf
{imports}

@hydra.main(version_base="1.2")
def main(cfg):
    print(json.dumps({{
        "cfg": OmegaConf.to_container(cfg),
        "methods": list(METHODS),
        "sources": [source.provider for source in HydraConfig.get().runtime.config_sources],
        "modules": list(sys.modules),
    }}))

main()
"""


# --- programs with Hydra ---------------------------------------------------------------------


def test_their_program_knows_our_methods_where_it_uses_hydra(tmp_path):
    """With any YAML of the user, in any folder; on 1.0.2 nothing happens, and nothing is said."""
    write(tmp_path / "own/mine.yaml", "method: bayesncl\n")
    program = HYDRA_PROGRAM.format(imports="from solo.methods import METHODS")
    script = write(tmp_path / "program.py", program)
    done = python(script, "--config-path", "own", "--config-name", "mine", cwd=tmp_path)
    result = last_line(done)
    assert ("bayesncl" in result["methods"]) == adapters.scripts_use_hydra()
    assert result["cfg"] == {"method": "bayesncl"}
    assert result["sources"] == ["hydra", "main", "schema"]
    assert "solo_bayesncl" not in done.stderr


def test_other_hydra_programs_stay_as_they_are(tmp_path):
    write(tmp_path / "pretrain/cifar/mine.yaml", "a: 1\n")
    script = write(tmp_path / "program.py", HYDRA_PROGRAM.format(imports="METHODS = {}"))
    done = python(script, "--config-path", "pretrain/cifar", "--config-name", "mine", cwd=tmp_path)
    result = last_line(done)
    assert result["sources"] == ["hydra", "main", "schema"]
    assert "hydra_plugins.solo_bayesncl" in result["modules"]
    assert not {"solo_bayesncl", "solo", "torch"} & {*result["modules"]}
    assert done.stderr == ""


def test_what_is_broken_on_our_side_does_not_stop_their_program(tmp_path):
    """A warning, and the program runs on."""
    write(tmp_path / "solo/__init__.py", "")
    write(tmp_path / "solo/methods.py", "METHODS = {}\n")
    write(tmp_path / "solo/data/pretrain_dataloader.py", "")  # looks like main
    write(tmp_path / "torch/__init__.py", "raise ImportError('broken')\n")
    write(tmp_path / "own/mine.yaml", "a: 1\n")
    program = HYDRA_PROGRAM.format(imports="from solo.methods import METHODS")
    script = write(tmp_path / "program.py", program)
    done = python(script, "--config-path", "own", "--config-name", "mine", cwd=tmp_path)
    assert last_line(done)["cfg"] == {"a": 1}
    assert "methods and recipes of solo_bayesncl are not available: " in done.stderr
    assert "broken" in done.stderr


# --- scripts without Hydra -------------------------------------------------------------------

ARGPARSE_SCRIPT = """
import argparse, json, sys
from solo.methods import METHODS
import neighbour

parser = argparse.ArgumentParser()
parser.add_argument("--k", type=int, nargs="+")
parser.add_argument("--exit", type=int)
args = parser.parse_args()
with open(neighbour.OUT, "w") as out:
    json.dump([METHODS["bayesncl"].__name__, args.k, sys.argv, sys.path[0], __name__], out)
if args.exit is not None:
    sys.exit(args.exit)
"""


@pytest.fixture
def argparse_script(tmp_path) -> Path:
    """A script of the shape of main_knn.py, which says in `out.json` what it finds."""
    write(tmp_path / "neighbour.py", f"OUT = {str(tmp_path / 'out.json')!r}\n")
    yield write(tmp_path / "main_k.py", ARGPARSE_SCRIPT)
    sys.modules.pop("neighbour", None)


def test_a_script_runs_as_if_directly_with_our_methods(argparse_script, tmp_path):
    adapters.adapter()  # importing solo-learn adds to the import path
    before = (sys.argv, [*sys.path])
    assert main([str(argparse_script), "--k", "1", "5"]) == 0
    assert json.loads((tmp_path / "out.json").read_text()) == [
        "BayesNCL", [1, 5], [str(argparse_script), "--k", "1", "5"], str(tmp_path), "__main__"
    ]  # fmt: skip
    assert (sys.argv, sys.path) == before


@pytest.mark.parametrize(
    ("arguments", "status"), [(["--exit", "3"], 3), (["--k", "one"], 2), (["--help"], 0)]
)
def test_a_script_exits_as_it_wants_to(argparse_script, arguments, status, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([str(argparse_script), *arguments])
    assert stopped.value.code == status
    if status != 3:
        assert "usage: main_k.py" in "".join(capsys.readouterr())


def test_a_missing_script_is_one_message(tmp_path, capsys):
    assert main([str(tmp_path / "main_knn.py")]) == 2
    assert "main_knn.py is not a file" in capsys.readouterr().err
    with pytest.raises(InputError):
        run([str(tmp_path)])


# --- the scripts themselves ------------------------------------------------------------------


@pytest.fixture
def checkout() -> Path:
    """A checkout of solo-learn main that matches the installed release."""
    if "SOLO_LEARN_CHECKOUT" not in os.environ:
        pytest.skip("SOLO_LEARN_CHECKOUT names no checkout of solo-learn main")
    return Path(os.environ["SOLO_LEARN_CHECKOUT"])


def on_cpu(images: Path, out: Path, devices: int = 1) -> list[str]:
    """What their scripts need besides on a machine without a GPU, and to be quick."""
    overrides = [o for o in tiny(images, out) if not o.startswith("data.dataset")]
    return [
        *overrides,
        "accelerator=cpu",
        f"devices='{'0' * (devices - 1)}{devices}'",  # its length is what scales their lr
        f"strategy={'auto' if devices == 1 else 'ddp'}",
        "sync_batchnorm=False",
    ]


@on_main
def test_main_pretrain_and_main_linear_train_from_our_recipes(checkout, images, tmp_path):
    """In two processes of theirs, the second of which has to find method and backbone again."""
    script = checkout / "main_pretrain.py"
    recipe = ("--config-path", "scripts/pretrain/custom", "--config-name", "bayesncl.yaml")
    small = "backbone.name=small_resnet"
    overrides = [*on_cpu(images, tmp_path, devices=2), "optimizer.batch_size=8", small]
    done = python(script, *recipe, *overrides, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (checkpoint,) = only_run(tmp_path, "bayesncl").glob("*.ckpt")
    pretrained = torch.load(checkpoint, weights_only=True)
    assert pretrained["global_step"] == 3
    assert any(key.startswith("gating_head") for key in pretrained["state_dict"])

    overrides = [
        o for o in on_cpu(images, tmp_path) if not o.startswith(("augmentations", "method_kwargs"))
    ]
    done = python(
        checkout / "main_linear.py",
        "--config-path", "scripts/linear/custom", "--config-name", "bayesncl.yaml",
        f"pretrained_feature_extractor='{checkpoint}'", "data.augmentations.crop_size=16",
        *overrides, small, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (probe,) = only_run(tmp_path, "linear").glob("*.ckpt")
    probed = torch.load(probe, weights_only=True)["state_dict"]
    weights = {k: v for k, v in probed.items() if k.startswith("backbone.")}
    assert weights and all(torch.equal(v, pretrained["state_dict"][k]) for k, v in weights.items())


@on_main
def test_main_knn_builds_and_loads_our_method(checkout, images, tmp_path):
    """To its end on a GPU; without one to the first `.cuda()`, behind the loaded checkpoint."""
    recipe = ["--config-path", str(RECIPES / "pretrain/custom"), "--config-name", "bayesncl"]
    assert main(["pretrain", *recipe, *tiny(images, tmp_path)]) == 0
    done = python(
        "-m", "solo_bayesncl", checkout / "main_knn.py",
        "--pretrained_checkpoint_dir", only_run(tmp_path, "bayesncl"),
        "--dataset", "custom", "--train_data_path", images / "train",
        "--val_data_path", images / "val", "--batch_size", 16, "--num_workers", 0,
        "--k", 2, "--temperature", 0.1, "--distance_function", "cosine",
        "--feature_type", "backbone", cwd=tmp_path,
    )  # fmt: skip
    if torch.cuda.is_available():
        assert "Result: acc@1" in done.stdout, done.stderr
    else:
        assert "im = im.cuda(" in done.stderr


@on_main
def test_their_own_tests_fare_as_well_with_our_methods_registered(checkout, tmp_path):
    (tmp_path / "registered.py").write_text("import solo_bayesncl\n\nsolo_bayesncl.register()\n")
    outcomes = []
    for plugin in ([], ["-p", "registered"]):
        report = tmp_path / "report.xml"
        python(
            "-m", "pytest", "-q", "-p", "no:cacheprovider", *plugin, f"--junitxml={report}",
            "tests/losses", "tests/methods/test_simclr.py",
            cwd=checkout, path=f"{tmp_path}{os.pathsep}{ROOT}",
        )  # fmt: skip
        outcomes.append(
            {
                (case.get("classname"), case.get("name")): [child.tag for child in case]
                for case in ElementTree.parse(report).iter("testcase")
            }
        )
    without, with_ours = outcomes
    assert with_ours == without
    assert [] in without.values()
