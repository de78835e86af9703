"""Which keys of a recipe or a comparison hold paths, and which hold text."""

from functools import cache

from pydantic import BaseModel

from solo_bayesncl.recipes.model_schema import JsonSchema, ModelSchema


@cache
def leaf_keys(model: type[BaseModel]) -> tuple[str, ...]:
    """The dotted keys that are no sections; INDEX stands for the number of an entry of a list."""
    return tuple(key for key, _ in ModelSchema(model).leaves())


@cache
def path_keys(model: type[BaseModel]) -> tuple[str, ...]:
    """The dotted keys whose values are paths, e.g. `data.train_path`."""
    return tuple(
        key
        for key, kinds in ModelSchema(model).leaves()
        if any(kind.get("format") == "path" for kind in kinds)
    )


@cache
def text_keys(model: type[BaseModel]) -> tuple[str, ...]:
    """The dotted keys that take text and nothing else but null: paths, names, one of several."""
    return tuple(key for key, kinds in ModelSchema(model).leaves() if all(map(_is_text, kinds)))


def _is_text(kind: JsonSchema) -> bool:
    choices = kind.get("enum", [kind["const"]] if "const" in kind else [])
    if choices:
        return all(isinstance(choice, str) for choice in choices)
    return kind.get("type") in ("string", "null")
