"""A griffe extension: a docstring's section `Example:` holds doctests, as `Examples:` does for griffe."""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension, Object


class ExampleSections(Extension):
    """Rename the section before it is parsed; unknown sections become boxes of prose."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Rename it in the docstring of one object."""
        if obj.docstring is not None:
            obj.docstring.value = re.sub(r"^(\s*)Example:$", r"\1Examples:", obj.docstring.value, flags=re.MULTILINE)
