"""Sections of a class docstring: the definition, the shapes, and where the algorithm fails."""

from __future__ import annotations

import inspect
import re
from importlib import import_module
from typing import Any

from nlcore.registry import AlgorithmSpec

__all__ = ["factory_of", "noun", "sections_of", "shapes_of"]

_TITLES = (
    "Args|Attributes|Returns|Yields|Raises|References?|Examples?|Notes?|See Also|Shape|Cost|When it fails|"
    "Where it fails"
)
_SECTION = re.compile(rf"^({_TITLES}):$", re.MULTILINE)
_SAME = {"Examples": "Example", "References": "Reference", "Where it fails": "When it fails"}
_ITEM = re.compile(r"^(?:- )?([\w, ]+): *", re.MULTILINE)


def factory_of(spec: AlgorithmSpec) -> Any:
    """Return the class or function that makes an algorithm; `None` where it cannot be imported."""
    module, _, name = spec.factory.partition(":")
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError):
        return None


def sections_of(spec: AlgorithmSpec) -> dict[str, str]:
    """Return the sections of the factory's docstring by title, the text before the first under an empty one."""
    parts = _SECTION.split(inspect.getdoc(factory_of(spec)) or "")
    found = {"": parts[0].strip()}
    for title, body in zip(parts[1::2], parts[2::2], strict=True):
        found[_SAME.get(title, title)] = inspect.cleandoc(body)
    return found


def shapes_of(sections: dict[str, str]) -> dict[str, str]:
    """Return the items of the section `Shape`: of the prediction, the target, the mask and the value."""
    parts = _ITEM.split(sections.get("Shape", ""))
    found = {}
    for names, text in zip(parts[1::2], parts[2::2], strict=True):
        found |= {name.strip(): " ".join(text.split()) for name in names.split(",")}
    return found


def noun(text: str) -> str:
    """Return the name of an input: the words behind its shape, up to the next comma, without article."""
    words = re.sub(r"^`[^`]*`(?: or `[^`]*`)*[^,]*,? ?", "", text) if text.startswith("`") else text
    words = re.split(r"[,;.:(]| of which| that ", words)[0].strip().replace("**", "")
    return re.sub(r"^(?:the|a|an|their) ", "", words)
