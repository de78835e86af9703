"""The documentation says what the code does."""

import ast
import re
import shlex
from importlib import import_module

from conftest import RECIPES, ROOT

from solo_bayesncl.__main__ import COMMANDS, PARSE_THEMSELVES
from solo_bayesncl.arguments import ArgumentParser
from solo_bayesncl.recipes.method_kwargs import BayesNCLKwargs, NCLKwargs
from solo_bayesncl.recipes.search_path import recipe_names
from solo_bayesncl.recipes.validation import accepted_values


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
        assert name in recipe_names(RECIPES / folder)


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


def test_every_heading_that_a_document_links_to_exists():
    for document in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for name, anchor in re.findall(r"\]\(([\w./-]*)#([\w-]+)\)", document.read_text()):
            target = document.parent / name if name else document
            headings = re.findall(r"^#+ (.+)$", target.read_text(), re.M)
            anchors = [re.sub(r"[^\w -]", "", heading).lower() for heading in headings]
            assert anchor in [one.replace(" ", "-") for one in anchors], (document.name, anchor)


def test_command_lines_of_the_readme_are_accepted():
    readme = (ROOT / "README.md").read_text()
    lines = re.findall(r"^    (?:.*/)?solo-bayesncl ([^\\\n]+)", readme, re.M)
    parsed = set()
    for line in lines:
        name, *arguments = shlex.split(line, comments=True)
        if name not in PARSE_THEMSELVES:
            parser = ArgumentParser()
            import_module(f"solo_bayesncl.commands.{name}").add_arguments(parser)
            parser.parse_args(arguments)
            parsed.add(name)
    assert {"demo", "evaluate", "explain", "export"} <= parsed


def test_every_reported_metric_is_defined_and_nothing_else():
    """By name: a metric means the same in every space, and for factors."""
    from solo_bayesncl.report.catalogue import METRICS, reported_in

    text = (ROOT / "docs/metrics.md").read_text()
    defined = re.findall(r"^\| `(\w+)` \|", text, re.M)
    assert len(defined) == len(set(defined))
    information = {"mutual_information_mean": 0.1, "mutual_information_max": 0.2}
    of_factors = reported_in([{"factors": {"f": {"codes": information}}}])
    assert set(defined) == {metric.name for metric in (*METRICS, *of_factors)}


def test_documents_and_catalogue_agree_on_which_way_is_better():
    from solo_bayesncl.report.catalogue import METRICS

    better = {metric.name: metric.better or "-" for metric in METRICS}
    text = (ROOT / "docs/metrics.md").read_text().replace(r"\|", "")
    cells = re.findall(r"^\| `(\w+)` \|[^|]*\|[^|]*\| (higher|lower|-) \|", text, re.M)
    assert len(cells) >= 30
    assert {name: word for name, word in cells if name in better} == {
        name: better[name] for name, _ in cells if name in better
    }


def test_every_comparison_of_the_package_is_documented():
    text = (ROOT / "docs/compare.md").read_text()
    for path in (RECIPES / "compare").glob("*.yaml"):
        assert f"`{path.stem}`" in text or f"--config-name {path.stem}" in text, path.stem


def test_every_key_of_a_comparison_is_documented():
    from solo_bayesncl.comparison.config import ComparisonConfig, EvaluationSection

    text = (ROOT / "docs/compare.md").read_text()
    # what the program passes on to itself is not for people
    keys = {*ComparisonConfig.model_fields, *EvaluationSection.model_fields}
    code = re.findall(r"^```.*?^```$|`[^`\n]+`|^    .*$", text, re.M | re.S)
    named = {part for name in re.findall(r"[\w.]+", " ".join(code)) for part in name.split(".")}
    assert keys - {"typed", "typed_linear"} <= named
