"""Which keys of a recipe or a comparison hold paths, and which hold text."""

from collections.abc import Iterator
from functools import cache

from pydantic import BaseModel

from solo_bayesncl.recipes.validation import JsonSchema, ModelSchema


@cache
def path_keys(model: type[BaseModel]) -> tuple[str, ...]:
    """The dotted keys whose values are paths, e.g. `data.train_path`."""
    return tuple(
        key for key, kinds in _leaves(model) if any(k.get("format") == "path" for k in kinds)
    )


@cache
def text_keys(model: type[BaseModel]) -> tuple[str, ...]:
    """The dotted keys that take text, paths and names among them, and nothing else but null."""
    return tuple(key for key, kinds in _leaves(model) if all(map(_is_text, kinds)))


def _is_text(kind: JsonSchema) -> bool:
    if "enum" in kind or "const" in kind:
        return all(isinstance(value, str) for value in kind.get("enum", [kind.get("const")]))
    return kind.get("type") in ("string", "null")


def _leaves(model: type[BaseModel]) -> Iterator[tuple[str, list[JsonSchema]]]:
    """The keys that are no sections, with the alternatives that each accepts."""
    schema = ModelSchema(model)

    def walk(prefix: str, properties: JsonSchema) -> Iterator[tuple[str, list[JsonSchema]]]:
        for name, field in properties.items():
            alternatives = schema.branches(field)
            sections = [kind for kind in alternatives if "properties" in kind]
            for section in sections:
                yield from walk(f"{prefix}{name}.", section["properties"])
            if not sections:
                yield f"{prefix}{name}", alternatives

    yield from walk("", schema.root["properties"])
