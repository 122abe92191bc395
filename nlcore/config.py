"""Options of algorithms: validated once, when an algorithm is made."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, ClassVar, Self, dataclass_transform

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from nlcore.errors import ConfigError, ContractError, nearest

if TYPE_CHECKING:
    from nlcore.protocol import Traits

__all__ = ["AlgorithmConfig", "Configured"]

_MANY = 8
"""Most options that a message lists with their defaults."""

_LONG = 200
"""Characters of a value in a message."""


class AlgorithmConfig(BaseModel):
    """Base of the options of an algorithm: frozen, JSON values only, unknown names refused.

    Give every field a description; it becomes the documentation of the option. Values are validated as if read from a
    JSON file: strictly, so that `"1"` is not a number, but a list is accepted for a tuple.

    Raises:
        ConfigError: An option is unknown, of the wrong type or out of range. The message names the nearest
            one, and lists the options; of more than 8 the names, the nearest first.

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
        except (TypeError, ValueError, RecursionError) as error:
            raise ConfigError(f"{type(self)._title()}: {error}; options are JSON values.") from error
        try:
            self.__pydantic_validator__.validate_json(text, self_instance=self)
        except ValidationError as error:
            raise ConfigError(type(self)._explain(error)) from error

    @classmethod
    def _explain(cls, error: ValidationError) -> str:
        """Return one message for all faults, which ends with the list of options."""
        details = error.errors(include_url=False)
        inner = {detail["loc"][:size] for detail in details for size in range(1, len(detail["loc"]))}
        # what holds a wrong item is often said to be too short as well
        faults = "; ".join(cls._fault(detail) for detail in details if detail["loc"] not in inner)
        unknown = [str(detail["loc"][-1]) for detail in details if detail["type"] == "extra_forbidden"]
        return f"{cls._title()}: {faults}. {cls._allowed(unknown)}".rstrip()

    @classmethod
    def _allowed(cls, unknown: list[str]) -> str:
        """Return the list of options; of many only their names, and only where one is unknown."""
        names = list(cls.model_fields)
        if len(names) > _MANY:
            sorted_names = get_close_matches(unknown[0], names, n=len(names), cutoff=0.0) if unknown else []
            return f"Options, nearest first: {', '.join(sorted_names)}." if sorted_names else ""
        options = ", ".join(
            name if field.is_required() else f"{name}={field.get_default(call_default_factory=True)!r}"
            for name, field in cls.model_fields.items()
        )
        return f"Options: {options}." if options else "It has no options."

    @classmethod
    def _title(cls) -> str:
        return cls.__name__.removesuffix("Config")

    @classmethod
    def _fault(cls, detail: ErrorDetails) -> str:
        name = ".".join(str(part) for part in detail["loc"])
        if detail["type"] == "extra_forbidden":
            return f"unknown option {name!r} (given {_shown(detail['input'])}){nearest(name, cls.model_fields)}"
        if detail["type"] == "missing":
            return f"option {name!r} is required"
        message = detail["msg"].removeprefix("Value error, ").rstrip(".")
        text = message if detail["type"] == "value_error" else f"{message[:1].lower()}{message[1:]}"
        near = ""
        if detail["type"] == "literal_error":
            near = nearest(str(detail["input"]), re.findall(r"'(\w+)'", detail["ctx"]["expected"]))
        return f"option {name!r} was given {_shown(detail['input'])}{near}: {text}" if name else text


@dataclass_transform(kw_only_default=True, frozen_default=True)
class Configured:
    """Base of losses whose options are those of a configuration: a frozen dataclass with a field for every option.

    Options are validated on construction, as in `nlcore.make`, and stored as the configuration reads them. The loss is
    printed, pickled and copied by its options. A class statement with `config=` makes the class such a dataclass, with
    keyword-only fields; without it, as for an abstract base with fields, write the decorator. Options that decide which
    optional capabilities a loss has belong in `Traits.supplies`.

    Attributes:
        id: The id it is registered under, with its version; error messages begin with it.
        config: The configuration, whose field names are those of the dataclass.
        traits: The assumptions that the engine may make; a property where it depends on the options.

    Raises:
        ConfigError: On construction: an option is unknown, of the wrong type or out of range.

    Example:
        >>> class BlurConfig(AlgorithmConfig):
        ...     width: float = 1.0
        >>> class Blur(Configured, id="lab/blur-v1", config=BlurConfig):
        ...     width: float = 1.0
        >>> Blur(width=2), Blur.id
        (Blur(width=2.0), 'lab/blur-v1')
    """

    id: ClassVar[str]
    config: ClassVar[type[AlgorithmConfig]]

    if TYPE_CHECKING:

        @property
        def traits(self) -> Traits:
            """The assumptions that the engine may make."""
            ...

    def __init_subclass__(
        cls,
        *,
        id: str | None = None,
        config: type[AlgorithmConfig] | None = None,
        traits: Traits | None = None,
        **others: Any,
    ) -> None:
        """Set the attributes that the class statement gives, and make a class with a configuration a dataclass."""
        super().__init_subclass__(**others)
        for name, value in {"id": id, "config": config, "traits": traits}.items():
            if value is not None:
                setattr(cls, name, value)
        if config is not None:
            dataclass(frozen=True, repr=False, kw_only=True)(cls)

    def __post_init__(self) -> None:
        """Validate the options, and store them as the configuration reads them."""
        if not hasattr(self, "config"):
            name = type(self).__name__
            raise ContractError(
                f"{name} is a Configured class without the class of its options. Write class {name}(Configured, id=…, "
                f"config={name}Config), or config = {name}Config in its body."
            )
        read = self.config(**self._options())
        for name in self.config.model_fields:
            object.__setattr__(self, name, getattr(read, name))

    def _options(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.config.model_fields}

    @classmethod
    def _public(cls) -> type[Self]:
        """Return the class that users construct, of which `cls` may be a private variant."""
        return next(base for base in cls.__mro__ if "__dataclass_fields__" in vars(base))

    def __repr__(self) -> str:
        options = ", ".join(f"{name}={value!r}" for name, value in self._options().items())
        return f"{self._public().__name__}({options})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self._public(), self._options())


def _rebuild(cls: type[Configured], options: dict[str, Any]) -> Configured:
    return cls(**options)


def _shown(value: object) -> str:
    """Return a value for a message, shortened in the middle."""
    text = repr(value)
    return text if len(text) <= _LONG else f"{text[: _LONG // 2]} … {text[-_LONG // 4 :]}"


def _written(value: object) -> Any:
    """Return a nested configuration as JSON values."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    cure = "; for a list call .tolist() on it" if hasattr(value, "tolist") else ""
    raise TypeError(f"{_shown(value)} ({type(value).__qualname__}) cannot be written as JSON{cure}")
