"""Griffe extensions: a docstring's `Example:` holds doctests; a bare `ClassVar` is no argument of a dataclass."""

from __future__ import annotations

import re
from typing import Any

from griffe import Attribute, Extension, Object


class ExampleSections(Extension):
    """Rename the section before it is parsed; unknown sections become boxes of prose."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Rename it in the docstring of one object."""
        if obj.docstring is not None:
            obj.docstring.value = re.sub(r"^(\s*)Example:$", r"\1Examples:", obj.docstring.value, flags=re.MULTILINE)


class BareClassVars(Extension):
    """Take bare `ClassVar` annotations away, which griffe would show among the arguments of the constructor."""

    def on_attribute_instance(self, *, attr: Attribute, **_: Any) -> None:
        """Take it from one attribute."""
        if str(attr.annotation) in {"ClassVar", "typing.ClassVar"}:
            attr.annotation = None
