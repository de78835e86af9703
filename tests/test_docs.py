"""The documentation says what the code does."""

import ast
import re

import pytest
from conftest import RECIPES, ROOT

from solo_bayesncl.__main__ import COMMANDS
from solo_bayesncl.recipes.compose import compose_recipe
from solo_bayesncl.recipes.method_kwargs import BayesNCLKwargs, NCLKwargs
from solo_bayesncl.recipes.validation import accepted_values

RECIPE_FILES = sorted(RECIPES.glob("*/*/*.yaml"))


def test_every_setting_is_documented_as_it_is():
    rows = {}
    row = r"\| `(\w+)`( \(bayesncl\))? \| (required|`\S+`) \| (.+) \| (.+) \|$"
    for line in (ROOT / "docs/settings.md").read_text().splitlines():
        if found := re.match(row, line):
            name, only, default, accepts, meaning = found.groups()
            rows[name] = (bool(only), default, accepts, meaning)
    expected = {
        name: (
            name not in NCLKwargs.model_fields,
            "required" if field.is_required() else f"`{field.default}`",
            accepted_values(BayesNCLKwargs, name),
            field.description,
        )
        for name, field in BayesNCLKwargs.model_fields.items()
    }
    assert rows == expected


@pytest.mark.parametrize(
    "path", RECIPE_FILES, ids=lambda path: "-".join(path.relative_to(RECIPES).parts)
)
def test_every_recipe_composes_and_names_its_method(path):
    overrides = [
        f"{key}=x"
        for key in ("data.train_path", "data.val_path", "pretrained_feature_extractor")
        if f"{key.rsplit('.')[-1]}: ???"
        in "".join(p.read_text() for p in path.parent.rglob("*.yaml"))
    ]
    cfg = compose_recipe(str(path.parent), path.stem, overrides)
    method = cfg.method if "method" in cfg else cfg.pretrain_method
    assert path.stem == method or path.stem.startswith(f"{method}_")
    assert cfg.wandb.enabled is False
    assert cfg.accelerator == "auto"


@pytest.mark.parametrize("folder", ["cifar", "imagenet-100", "custom", "demo"])
def test_every_published_method_has_a_recipe_for_pretraining_and_probe(folder):
    names = {"simclr", "ncl", "ncl_topk", "bayesncl", "bayesncl_gs"}
    for kind in ("pretrain", "linear"):
        assert names <= {path.stem for path in (RECIPES / kind / folder).glob("*.yaml")}


def test_cifar_recipe_has_the_official_settings():
    cfg = compose_recipe(str(RECIPES / "pretrain/cifar"), "bayesncl", [])
    assert (cfg.method_kwargs.proj_hidden_dim, cfg.method_kwargs.proj_output_dim) == (2048, 256)
    assert cfg.method_kwargs.temperature == 0.2
    assert cfg.method_kwargs.non_neg == "rep_relu"
    assert cfg.method_kwargs.bayesian_prior_prob == 0.8
    assert cfg.method_kwargs.bayesian_kl_lambda == 3e-5
    assert (cfg.optimizer.lr, cfg.optimizer.classifier_lr, cfg.optimizer.gating_head_lr) == (
        0.4,
        0.1,
        0.1,
    )
    assert cfg.optimizer.kwargs == {"clip_lr": True, "eta": 0.02, "exclude_bias_n_norm": True}
    assert (cfg.optimizer.batch_size, cfg.max_epochs, cfg.precision) == (256, 200, "16-mixed")


def test_imagenet100_recipe_has_the_official_settings():
    cfg = compose_recipe(str(RECIPES / "pretrain/imagenet-100"), "bayesncl", [])
    assert (cfg.method_kwargs.proj_hidden_dim, cfg.method_kwargs.proj_output_dim) == (16384, 2048)
    assert cfg.method_kwargs.non_neg == "relu"
    assert (cfg.optimizer.batch_size, cfg.optimizer.lr, cfg.max_epochs) == (128, 0.3, 100)
    assert cfg.data.format == "dali"


def test_readme_names_every_command():
    readme = (ROOT / "README.md").read_text()
    for name in COMMANDS:
        assert f"solo-bayesncl {name}" in readme


def test_commands_typed_in_the_readme_exist():
    readme = (ROOT / "README.md").read_text()
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))
    for target in re.findall(r"`make ([a-z]+)`", readme):
        assert target in targets
    for folder, name in re.findall(r"--config-path scripts/(\S+) --config-name (\w+)", readme):
        assert (RECIPES / folder / f"{name}.yaml").exists()


def test_only_adapters_ask_which_release_is_installed():
    """Arrows point one way: the torch-only modules import neither solo nor lightning."""
    package = ROOT / "solo_bayesncl"
    for path in package.rglob("*.py"):
        if "adapters" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            roots = {name.split(".")[0] for name in names}
            assert not roots & {"solo", "lightning", "pytorch_lightning"}, path


def test_every_file_that_a_document_names_exists():
    for document in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for name in re.findall(
            r"`((?:docs|tests|solo_bayesncl|benchmarks)/[\w./]+)`", document.read_text()
        ):
            assert (ROOT / name).exists(), (document.name, name)
        for name in re.findall(r"\]\(([\w./-]+)(?:#[\w-]+)?\)", document.read_text()):
            assert (document.parent / name).exists(), (document.name, name)


def test_every_reported_metric_is_defined_and_nothing_else():
    """By name: a metric means the same in every space, and for factors."""
    from solo_bayesncl.report.catalogue import METRICS, reported_in

    text = (ROOT / "docs/metrics.md").read_text()
    defined = re.findall(r"^\| `(\w+)` \|", text, re.M)
    assert len(defined) == len(set(defined))
    information = {"mutual_information_mean": 0.1, "mutual_information_max": 0.2}
    of_factors = reported_in([{"factors": {"f": {"codes": information}}}])
    assert set(defined) == {metric.path[-1] for metric in (*METRICS, *of_factors)}


def test_every_comparison_of_the_package_is_documented():
    text = (ROOT / "docs/compare.md").read_text()
    for path in (RECIPES / "compare").glob("*.yaml"):
        assert f"`{path.stem}`" in text or f"--config-name {path.stem}" in text, path.stem


def test_every_key_of_a_comparison_is_documented():
    from solo_bayesncl.comparison.jobs import EVALUATION_KEYS, KEYS

    text = (ROOT / "docs/compare.md").read_text()
    # what the program passes on to itself is not for people
    for key in {*KEYS, *EVALUATION_KEYS} - {"typed", "typed_linear"}:
        assert f"`{key}`" in text or f"{key}." in text, key
