"""Validates configuration against pydantic models, with messages that name accepted values."""

from collections.abc import Mapping
from typing import Any, TypeVar

from omegaconf import OmegaConf
from pydantic import (
    BaseModel,
    ConfigDict,
    GetJsonSchemaHandler,
    ValidationError,
    model_validator,
)
from pydantic_core import CoreSchema

from solo_bayesncl.errors import InputError
from solo_bayesncl.recipes.model_schema import ModelSchema

Model = TypeVar("Model", bound=BaseModel)


class Section(BaseModel):
    """A section without further keys. Values keep their types: 1.0 is not an integer."""

    model_config = ConfigDict(
        strict=True,
        extra="forbid",
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        model_title_generator=lambda model: "",  # messages then take the section's key
    )

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


class accepts:  # noqa: N801 -- an annotation, like pydantic's functions
    """Annotates a type with its accepted values in words, where its constraints lack them.

    Args:
        words: the values, e.g. "a path".
        format: of the type's JSON schema, e.g. `path`.
    """

    def __init__(self, words: str, format: str | None = None):
        self._extra = {"accepted": words} | ({"format": format} if format else {})

    def __get_pydantic_json_schema__(
        self, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {**handler(core_schema), **self._extra}


def accepted_values(model: type[BaseModel], key: str) -> str:
    """The accepted values of a key in words, as messages and documentation give them."""
    schema = ModelSchema(model)
    return schema.words(schema.root["properties"][key])


def plain(values: Any) -> Any:
    """Configuration in plain containers, with interpolations resolved and text as keys."""
    if OmegaConf.is_config(values):
        values = OmegaConf.to_container(values, resolve=True)
    if isinstance(values, list):
        return [plain(value) for value in values]
    if isinstance(values, dict):
        return {str(key): plain(value) for key, value in values.items()}
    return values


def validate(model: type[Model], values: Mapping[str, Any], prefix: str = "") -> Model:
    """The values of a section, with the defaults of those that are not given.

    Args:
        model: of the section.
        values: as Hydra composes them, or plain; interpolations are resolved.
        prefix: the dotted key of the section, for messages.

    Raises:
        InputError: one line for each wrong value: its dotted key, the value and what is accepted.
    """
    values = plain(values)
    try:
        return model.model_validate(values)
    except ValidationError as error:
        schema = ModelSchema(model)
        lines = [schema.message(details, values, prefix) for details in error.errors()]
        raise InputError("\n".join(dict.fromkeys(lines))) from error
