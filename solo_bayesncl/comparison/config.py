"""The keys of a comparison's configuration, with the values they accept."""

import difflib
import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from solo_bayesncl.errors import InputError
from solo_bayesncl.recipes.overrides import key_of
from solo_bayesncl.recipes.own_keys import SIMILAR
from solo_bayesncl.recipes.schema import PretrainRecipe
from solo_bayesncl.recipes.validation import Section, accepts
from solo_bayesncl.recipes.values import MAX_SEED, PathName, Seed, Text
from solo_bayesncl.report.catalogue import METRICS

METRIC_KEYS = frozenset(metric.key for metric in METRICS)
_BUILD_ON_METHODS = (
    "(a file of your own begins with `defaults: [methods, _self_]`, which has all keys)"
)


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str | int) else value


_FOLDER = r"^\w[\w.-]*$"
Name = Annotated[str, Field(pattern=_FOLDER)]
Names = Annotated[
    list[Name],
    Field(min_length=1),
    BeforeValidator(_as_list),
    accepts("a list of names that folders can have, e.g. [simclr,ncl,bayesncl]"),
]
Seeds = Annotated[
    list[Seed],
    Field(min_length=1),
    BeforeValidator(_as_list),
    accepts(f"a list of integers from 0 to {MAX_SEED}, e.g. [0,1,2]"),
]
Overrides = Annotated[list[str], accepts("a list of overrides, ['key=value',...]")]


# options of every control, and those of each kind
COMMON = ("of", "kind", "space", "dims")
OPTIONS = {
    "topk_sae": ("k", "steps", "lr"),
    "l1_sae": ("l1", "steps", "lr"),
    "nmf": (),
}


class ComparisonSection(Section):
    @model_validator(mode="before")
    @classmethod
    def _drop_nulls(cls, values: Any) -> Any:
        """`null` leaves a key at its default."""
        if not isinstance(values, dict):
            return values
        return {key: value for key, value in values.items() if value is not None}


class Variant(ComparisonSection):
    model_config = ConfigDict(title="a variant")

    recipe: str
    overrides: Overrides = Field([])


class Grid(Section):
    """One variant for every combination of values."""

    model_config = ConfigDict(title="a grid")

    recipe: str
    name: Annotated[str, accepts("a template of names, such as lr_{lr} for optimizer.lr=0.1,0.2")]
    overrides: Annotated[
        list[Annotated[str, Field(pattern="=")]],
        Field(min_length=1),
        accepts("a list of key=value,value,... (quote values with brackets)"),
    ]


class Control(ComparisonSection):
    """A dictionary fitted to what a compared method outputs; `evaluation.dictionaries` fits it."""

    model_config = ConfigDict(title="a control")

    of: Annotated[str, accepts("one of the compared methods")]
    kind: Literal["topk_sae", "l1_sae", "nmf"]
    space: Literal["backbone", "codes"] = "backbone"
    dims: Annotated[int, Field(ge=1)] | None = None
    k: Annotated[int, Field(ge=1)] = 8
    l1: Annotated[float, Field(ge=0)] = 3.0
    steps: Annotated[int, Field(ge=1)] = 2000
    lr: Annotated[float, Field(gt=0, le=1)] = 1e-3

    @model_validator(mode="after")
    def _check_options(self):
        unused = self.model_fields_set - {*COMMON, *OPTIONS[self.kind]}
        if unused:
            raise InputError(
                f"a control of kind={self.kind} has no {', '.join(sorted(unused))}. Its options "
                f"are: {', '.join((*COMMON, *OPTIONS[self.kind]))}."
            )
        return self

    def settings(self) -> dict[str, Any]:
        """Everything that its fit depends on, except for the data."""
        return self.model_dump(include={*COMMON, *OPTIONS[self.kind]})


class EvaluationSection(ComparisonSection):
    """Options of `solo-bayesncl evaluate`, whose values `evaluation.options` checks."""

    model_config = ConfigDict(title="evaluation")

    metadata: PathName | None = None
    reference: str | None = None
    reference_weights: PathName | None = None
    device: str | None = None
    precision: str | None = None
    workers: int | None = None
    quick: bool | None = None


class PrintedSection(ComparisonSection):
    """Results of a publication, which a comparison shows beside its own."""

    model_config = ConfigDict(title="printed")

    source: Annotated[Text, accepts("what printed them, e.g. a paper and its table")]
    methods: Annotated[
        dict[str, dict[str, Any]],
        accepts("a section for each method, with values in the places of evaluation.json"),
    ]
    unpublished: Annotated[
        dict[str, list[str]], accepts("a list of keys of its recipe for each method")
    ] = Field({})

    @field_validator("methods")
    @classmethod
    def _check_metrics(cls, methods: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        for method, record in methods.items():
            for path, value in _leaves(record):
                key = ".".join(path)
                _refuse_dots(f"printed.methods.{method}", path)
                number = isinstance(value, int | float) and not isinstance(value, bool)
                if key not in METRIC_KEYS or not number:
                    raise InputError(_not_printable(f"printed.methods.{method}.{key}={value}", key))
        return methods


def _leaves(
    record: dict[str, Any], path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, value in record.items():
        if isinstance(value, dict):
            yield from _leaves(value, (*path, name))
        else:
            yield (*path, name), value


def _refuse_dots(section: str, path: tuple[str, ...]) -> None:
    """Raises `InputError` for keys such as `codes.semantic_consistency`, which would be ignored."""
    for name in path:
        outer, dot, inner = name.partition(".")
        if dot:
            raise InputError(
                f"{section}: {name} is one key with a dot. Nest it: {outer}: {{{inner}: ...}}."
            )


def _not_printable(given: str, key: str) -> str:
    if key in METRIC_KEYS:
        return f"{given}: give a number in the unit of evaluation.json (see docs/metrics.md)."
    near = difflib.get_close_matches(key, METRIC_KEYS, n=1)
    meant = f" Did you mean {near[0]}?" if near else ""
    return f"{given}: evaluation.json has no such metric (see docs/metrics.md).{meant}"


class JobSection(ComparisonSection):
    """Names one run: both keys or none."""

    model_config = ConfigDict(title="job")

    method: str | None = None
    seed: Seed | None = None


class ComparisonConfig(ComparisonSection):
    """A comparison; `scripts/compare/methods.yaml` says what each key is for."""

    model_config = ConfigDict(
        title="a comparison",
        json_schema_extra={"advice": "What belongs to every recipe goes into `overrides`."},
    )

    methods: Names
    seeds: Seeds
    out: Annotated[PathName, accepts(f"the folder to write to {_BUILD_ON_METHODS}")]
    recipes: Any = None
    pretrain: Annotated[PathName, accepts(f"a folder of recipes {_BUILD_ON_METHODS}")]
    linear: Annotated[PathName, accepts("a folder of recipes")] | None = None
    variants: dict[str, Variant] = Field({})
    controls: Annotated[dict[str, Control], accepts("a section for each control")] = Field({})
    grid: Any = None  # written out as variants by `grids.expand_grid`
    overrides: Overrides = Field([])
    linear_overrides: Overrides = Field([])
    n_jobs: Annotated[
        Annotated[int, Field(ge=1)] | Literal["auto"],
        accepts("auto or how many runs to carry out at a time"),
    ] = 1
    evaluation: EvaluationSection = EvaluationSection()
    printed: PrintedSection | None = None
    job: JobSection = JobSection()
    # of the command line, see `split_overrides`
    typed: Overrides = Field([], json_schema_extra={"internal": True})
    typed_linear: Overrides = Field([], json_schema_extra={"internal": True})
    hydra: Any = Field(None, json_schema_extra={"internal": True})

    @field_validator("methods", "seeds")
    @classmethod
    def _check_distinct(cls, values: list, info: ValidationInfo) -> list:
        if len(set(values)) < len(values):
            raise InputError(f"{info.field_name}={values}: one is named twice.")
        return values

    @model_validator(mode="after")
    def _check_controls(self):
        for name, control in self.controls.items():
            if not re.match(_FOLDER, name):
                raise InputError(f"controls: {name!r} is a name that no folder can have.")
            if name in self.methods:
                raise InputError(
                    f"controls.{name}: methods={self.methods} has this name, too. Controls take "
                    "part without being listed there; give this one another name."
                )
            if control.of not in self.methods:
                raise InputError(
                    f"controls.{name}.of={control.of}: give one of methods={self.methods}."
                )
        return self

    @model_validator(mode="after")
    def _check_job(self):
        method, seed = self.job.method, self.job.seed
        compared = [*self.methods, *self.controls]
        named = method in compared and seed in self.seeds
        if not named and (method, seed) != (None, None):
            raise InputError(
                f"job.method={method} job.seed={seed}: give one of methods={compared} and "
                f"one of seeds={self.seeds}."
            )
        return self


def _refuse_misspelt(section: str) -> None:
    """Raises `InputError` for what resembles a key of a comparison and is none of a recipe."""
    if section in (known := {*ComparisonConfig.model_fields, *PretrainRecipe.model_fields}):
        return
    near = difflib.get_close_matches(section, known, n=1, cutoff=SIMILAR)
    if near and near[0] in ComparisonConfig.model_fields:
        raise InputError(f"{section} is not a setting. Did you mean {near[0]}?")


def split_overrides(overrides: list[str]) -> tuple[list[str], list[str], list[str]]:
    """Sorts the overrides of the command line by what they are for.

    Returns:
        (of the comparison's own keys; of the pretraining recipes, which is everything else; of the
        probe's recipes, typed behind `linear.`).

    Raises:
        InputError: for an argument that is not an override, or a misspelt key of a comparison.
    """
    own, pretrain, linear = [], [], []
    for override in overrides:
        section, _, inner = key_of(override).replace("/", ".").partition(".")
        _refuse_misspelt(section)
        if section == "linear" and inner:
            linear.append(re.sub("linear[./]", "", override, count=1))
        else:
            (own if section in ComparisonConfig.model_fields else pretrain).append(override)
    return own, pretrain, linear
