"""Options of an algorithm: checked once when it is made, never in the hot path."""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from nlcore.errors import ConfigError, nearest

__all__ = ["AlgorithmConfig"]


class AlgorithmConfig(BaseModel):
    """Base of the options of an algorithm: frozen, JSON values only, unknown names refused.

    Give every field a description; it becomes the documentation of the option. Values are read as if they came from a
    JSON file: strictly, so that `"1"` is no number, but a list is taken for a field that is a tuple.

    Raises:
        ConfigError: An option is unknown, of the wrong type or out of range. The message lists the options
            that there are and names the nearest one.

    Example:
        >>> from pydantic import Field
        >>> class BlurConfig(AlgorithmConfig):
        ...     width: float = Field(1.0, gt=0, description="Standard deviation in pixels.")
        >>> BlurConfig(width=2.0).width
        2.0
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, validate_default=True, protected_namespaces=()
    )

    def __init__(self, **options: Any) -> None:
        try:
            text = json.dumps(options, default=_written)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"{type(self)._title()}: {error}; options are JSON values.") from error
        try:
            self.__pydantic_validator__.validate_json(text, self_instance=self)
        except ValidationError as error:
            raise ConfigError(type(self)._explain(error)) from error

    @classmethod
    def _explain(cls, error: ValidationError) -> str:
        """Return one message for all that is wrong, ending with the options that there are."""
        faults = "; ".join(cls._fault(detail) for detail in error.errors(include_url=False))
        options = ", ".join(
            name if field.is_required() else f"{name}={field.get_default(call_default_factory=True)!r}"
            for name, field in cls.model_fields.items()
        )
        allowed = f"Options: {options}." if options else "It has no options."
        return f"{cls._title()}: {faults}. {allowed}"

    @classmethod
    def _title(cls) -> str:
        return cls.__name__.removesuffix("Config")

    @classmethod
    def _fault(cls, detail: ErrorDetails) -> str:
        name = ".".join(str(part) for part in detail["loc"])
        if detail["type"] == "extra_forbidden":
            return f"unknown option {name!r} (given {detail['input']!r}){nearest(name, cls.model_fields)}"
        if detail["type"] == "missing":
            return f"option {name!r} is required"
        text = f"{detail['msg'][:1].lower()}{detail['msg'][1:]}".rstrip(".")
        return f"option {name!r} was given {detail['input']!r}: {text}" if name else text


def _written(value: object) -> Any:
    """Return a nested configuration as JSON writes it."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    raise TypeError(f"{value!r} ({type(value).__qualname__}) cannot be written as JSON")
