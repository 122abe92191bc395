"""JSON documents validated against declared types."""

from __future__ import annotations

import json
import reprlib
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any, TypeAlias, TypeVar

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError

from nlcore.errors import nearest

__all__ = ["Amount", "Count", "Number", "Text", "explain", "parse", "validate"]

T = TypeVar("T")


def _encodable(text: str) -> str:
    r"""Refuse a lone surrogate such as \ud800, which JSON can escape but UTF-8 cannot encode."""
    text.encode()
    return text


# Scalars are strict: neither "1" nor true is a number. Containers are not: a list may become a tuple.
Text: TypeAlias = Annotated[str, Field(strict=True), AfterValidator(_encodable)]
Number: TypeAlias = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Amount: TypeAlias = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=0)]
Count: TypeAlias = Annotated[int, Field(strict=True, ge=0, lt=2**63)]

_WORDS = {
    "missing": "the field {name} is missing",
    "unexpected_keyword_argument": "the field {name} is unknown",
    "extra_forbidden": "the field {name} is unknown",
    "value_error": "{name}: {reason}",
    "dataclass_type": "{name} is {value}, not an object",
}


def parse(text: bytes | str) -> Any:
    """Return the value of a JSON text in UTF-8.

    Raises:
        ValueError: The text is not JSON, has a key twice in one object, or is nested too deeply.
    """
    try:
        return json.loads(text.decode() if isinstance(text, bytes) else text, object_pairs_hook=_unique)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error.msg}, at character {error.pos + 1}") from error
    except RecursionError as error:
        raise ValueError("the JSON is nested too deeply") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"the key {name!r} occurs twice")
        found[name] = value
    return found


def validate(adapter: TypeAdapter[T], value: Any) -> T:
    """Return `value` as the type of `adapter`.

    Raises:
        ValueError: It is not of this type; the message names the field, the value and the expected type.
    """
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        raise ValueError(explain(error)) from error


def explain(error: ValidationError, fields: Callable[[Sequence[str | int]], Iterable[str]] | None = None) -> str:
    """Return the first fault in words, with the number of the others.

    Args:
        error: The error of a validation.
        fields: Returns the fields of the table that holds the one of a path, to name the nearest.
    """
    first, *others = error.errors(include_url=False)
    message, path = first["msg"].removeprefix("Value error, "), first["loc"]
    reason = f"{message[:1].lower()}{message[1:]}"
    text = _WORDS.get(first["type"], "{name} is {value}: {reason}").format(
        name=".".join(map(str, path)) or "the document", value=reprlib.repr(first["input"]), reason=reason
    )
    if fields is not None and first["type"] == "extra_forbidden":
        text += nearest(str(path[-1]), fields(path))
    return f"{text}, and {len(others)} more" if others else text
