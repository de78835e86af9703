"""The JSON schema of a model: its keys, what each accepts in words, and the nearest to a slip."""

import difflib
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel

JsonSchema = Mapping[str, Any]
LISTED = 30  # names in a message at most; a recipe has twice as many


class ModelSchema:
    """Where pydantic keeps the constraints of nested values.

    Attributes:
        root: the JSON schema of the model.
    """

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
        if error["type"] == "string_unicode":
            return f"{'.'.join(path)}={value!r} is not UTF-8: rename the file or folder."
        problem = " is missing" if error["type"] == "missing" else f"={value!r}"
        return f"{'.'.join(path)}{problem}: give {self.words(schema)}."

    def words(self, schema: JsonSchema) -> str:
        """The accepted values, e.g. "an integer of at least 1 or null"."""
        return " or ".join(_words(branch) for branch in self.branches(schema))

    def branches(self, schema: JsonSchema) -> list[JsonSchema]:
        """The alternatives of a union, references followed."""
        name = schema.get("$ref", "").rpartition("/")[2]
        schema = self.root.get("$defs", {}).get(name, schema)
        alternatives = schema.get("anyOf")
        if alternatives is None or "accepted" in schema:  # in words, as a whole
            return [schema]
        return [branch for each in alternatives for branch in self.branches(each)]

    def leaves(self) -> Iterator[tuple[str, list[JsonSchema]]]:
        """The dotted keys that are no sections, with the alternatives that each accepts.

        A key of the entries of a list has INDEX for the entry's number.
        """

        def walk(prefix: str, schema: JsonSchema) -> Iterator[tuple[str, list[JsonSchema]]]:
            for name, field in schema["properties"].items():
                inner = [
                    (entry, section)
                    for branch in self.branches(field)
                    for entry, each in (("", branch), ("INDEX.", branch.get("items", {})))
                    for section in self.branches(each)
                    if "properties" in section
                ]
                for entry, section in inner:
                    yield from walk(f"{prefix}{name}.{entry}", section)
                if not inner:
                    yield f"{prefix}{name}", self.branches(field)

        yield from walk("", self.root)

    def nearest(
        self, key: str, section: JsonSchema | None = None, cutoff: float = 0.6
    ) -> list[str]:
        """What an unknown key may mean: a similar key of its section, else its name elsewhere.

        Args:
            key: the last part of the unknown key.
            section: the schema of its section, by default the root's.
            cutoff: similarity from 0 to 1, as in `difflib.get_close_matches`.

        Returns:
            At most one key of the section, else the dotted keys that end in this name.
        """
        if key in dict(self.leaves()):
            return [key]
        near = difflib.get_close_matches(key, _names(section or self.root), n=1, cutoff=cutoff)
        return near or [leaf for leaf, _ in self.leaves() if leaf.rpartition(".")[2] == key]

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
        if not path and key in dict(self.leaves()):
            outer, _, inner = key.partition(".")
            return f"{key} is one key with a dot. In a file, nest it: {outer}: {{{inner}: ...}}."
        near = self.nearest(key, section)
        if near and near[0] in section["properties"]:
            near = [".".join([*path, *near])]
        meant = f"Did you mean {' or '.join(near)}?" if near else None
        sentences = [
            f"{'.'.join([*path, key])} is not a setting of "
            f"{section['title'] or '.'.join(path) or 'a recipe'}.",
            meant or section.get("advice", "Remove it."),
        ]
        names = _names(section)
        if len(names) <= LISTED:
            sentences.append(f"Its settings are: {', '.join(names)}.")
        return " ".join(sentences)


def _names(section: JsonSchema) -> list[str]:
    return [name for name, key in section["properties"].items() if not key.get("internal")]


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
    if "const" in schema:
        return str(schema["const"])
    if "enum" in schema:
        return f"one of {', '.join(dict.fromkeys(map(str, schema['enum'])))}"
    if schema["type"] != "object":
        return _TYPES[schema["type"]] + _bounds(schema)
    names = [] if schema["additionalProperties"] else _names(schema)
    listed = " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))
    return f"a section with {listed or 'keys of its own'}"


def _bounds(schema: JsonSchema) -> str:
    low, high = schema.get("minimum"), schema.get("maximum", schema.get("exclusiveMaximum"))
    if "minItems" in schema:
        return " with at least one entry"
    if "exclusiveMinimum" in schema:
        return f" above {schema['exclusiveMinimum']}" + ("" if high is None else f" up to {high}")
    if high is None:
        return "" if low is None else f" of at least {low}"
    return f" from {low} to {'below ' if 'exclusiveMaximum' in schema else ''}{high}"
