"""Validates configuration against pydantic models, with messages that name accepted values."""

import difflib
from collections.abc import Mapping
from typing import Any, TypeVar

from omegaconf import OmegaConf
from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler, ValidationError, model_validator
from pydantic_core import CoreSchema

from solo_bayesncl.errors import InputError

Model = TypeVar("Model", bound=BaseModel)
JsonSchema = Mapping[str, Any]


class ClosedSection(BaseModel):
    """A section without further keys. Values keep their types: 1.0 is not an integer."""

    model_config = ConfigDict(
        strict=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )


class Section(ClosedSection):
    """A section of a recipe, to which solo-learn, Lightning and users add keys of their own."""

    model_config = ConfigDict(extra="allow")

    @model_validator(mode="before")
    @classmethod
    def _drop_placeholders(cls, values: Any) -> Any:
        """`???` and, where a value is required, `null` and solo-learn's `"None"` are not given."""
        if not isinstance(values, dict):
            return values
        required = {name for name, field in cls.model_fields.items() if field.is_required()}
        return {
            key: value
            for key, value in values.items()
            if value != "???" and not (key in required and value in (None, "None"))
        }


class accepts:  # noqa: N801 -- an annotation, as pydantic's own functions
    """Annotates a type with its accepted values in words, where its constraints lack them.

    Args:
        words: the values, e.g. "a path".
        format: of the type's JSON schema, e.g. `path`.
    """

    def __init__(self, words: str, format: str | None = None):
        self.extra = {"accepted": words} | ({"format": format} if format else {})

    def __get_pydantic_json_schema__(
        self, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {**handler(core_schema), **self.extra}


def accepted_values(model: type[BaseModel], key: str) -> str:
    """The accepted values of a key in words, as messages and documentation give them."""
    schema = ModelSchema(model)
    return schema.words(schema.root["properties"][key])


def validate(model: type[Model], values: Mapping[str, Any], prefix: str = "") -> Model:
    """The values of a section, with the defaults of those that are not given.

    Args:
        model: of the section.
        values: as Hydra composes them, or plain; interpolations are resolved.
        prefix: the dotted key of the section, for messages.

    Raises:
        InputError: one line for each wrong value: its dotted key, the value and what is accepted.
    """
    if OmegaConf.is_config(values):
        values = OmegaConf.to_container(values, resolve=True)
    try:
        return model.model_validate(values)
    except ValidationError as error:
        schema = ModelSchema(model)
        lines = [schema.message(details, values, prefix) for details in error.errors()]
        raise InputError("\n".join(dict.fromkeys(lines))) from error


class ModelSchema:
    """The JSON schema of a model: where pydantic keeps the constraints of nested values."""

    def __init__(self, model: type[BaseModel]):
        self.root = model.model_json_schema()

    def message(self, error: Mapping[str, Any], value: Any, prefix: str) -> str:
        """One of pydantic's errors as a line for people."""
        if error["type"] == "value_error":  # from a validator of the model: a complete sentence
            return str(error["ctx"]["error"])
        path, schema = [prefix] if prefix else [], self.root
        for part in error["loc"]:
            inner = self._inside(schema, part)
            if inner is None:  # unknown, or a plain value in a list, where the list is named
                break
            path.append(str(part))
            schema = inner
            value = None if error["type"] == "missing" else value[part]
        if error["type"] == "extra_forbidden":
            return self._unknown_key(path, str(part), schema)
        problem = " is missing" if error["type"] == "missing" else f"={value!r}"
        return f"{'.'.join(path)}{problem}: give {self.words(schema)}."

    def words(self, schema: JsonSchema) -> str:
        """The accepted values, e.g. "an integer of at least 1 or null"."""
        if "accepted" in schema:
            return schema["accepted"]
        return " or ".join(_words(branch) for branch in self.branches(schema))

    def branches(self, schema: JsonSchema) -> list[JsonSchema]:
        """The alternatives of a union, references followed."""
        name = schema.get("$ref", "").rpartition("/")[2]
        schema = self.root.get("$defs", {}).get(name, schema)
        alternatives = schema.get("anyOf")
        return [b for a in alternatives for b in self.branches(a)] if alternatives else [schema]

    def _inside(self, schema: JsonSchema, part: str | int) -> JsonSchema | None:
        """The schema of a key of a section, or of a section in a list or under any name."""
        for branch in self.branches(schema):
            if part in branch.get("properties", {}):
                return branch["properties"][part]
            inner = branch.get("items" if isinstance(part, int) else "additionalProperties")
            if isinstance(inner, dict) and any("properties" in b for b in self.branches(inner)):
                return inner
        return None

    def _unknown_key(self, path: list[str], key: str, schema: JsonSchema) -> str:
        section = next(branch for branch in self.branches(schema) if "properties" in branch)
        properties = section["properties"].items()
        names = [name for name, field in properties if not field.get("internal")]
        near = difflib.get_close_matches(key, names, n=1)
        meant = f"Did you mean {'.'.join([*path, *near])}?" if near else None
        return (
            f"{'.'.join([*path, key])} is not a setting of {section['title']}. "
            f"{meant or section.get('advice', 'Remove it.')} Its settings are: {', '.join(names)}."
        )


_TYPES = {
    "integer": "an integer",
    "number": "a number",
    "boolean": "True or False",
    "string": "text",
    "array": "a list",
    "null": "null",
}


def _words(schema: JsonSchema) -> str:
    """What a schema that is not a union accepts."""
    if "accepted" in schema:
        return schema["accepted"]
    if "enum" in schema:
        return f"one of {', '.join(dict.fromkeys(map(str, schema['enum'])))}"
    if schema["type"] != "object":
        return _TYPES[schema["type"]] + _bounds(schema)
    names = [] if schema["additionalProperties"] else list(schema["properties"])
    listed = " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))
    return f"a section with {listed or 'keys of its own'}"


def _bounds(schema: JsonSchema) -> str:
    low, high = schema.get("minimum"), schema.get("maximum", schema.get("exclusiveMaximum"))
    if "minItems" in schema:
        return " with at least one entry"
    if "exclusiveMinimum" in schema:
        return f" above {schema['exclusiveMinimum']}"
    if high is None:
        return "" if low is None else f" of at least {low}"
    return f" from {low} to {'below ' if 'exclusiveMaximum' in schema else ''}{high}"
