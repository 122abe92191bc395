"""Griffe extensions: doctests in `Example:`; arguments of dataclasses, also of `Configured` ones; lazy names."""

from __future__ import annotations

import ast
import re
from typing import Any

from griffe import Attribute, Class, Decorator, ExprCall, ExprKeyword, ExprName, Extension, Module, Object


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


class ConfiguredClasses(Extension):
    """Show the options of a class statement with `config=`, which `nlcore.config.Configured` makes a dataclass."""

    def on_class_instance(self, *, node: ast.AST, cls: Class, **_: Any) -> None:
        """Add the decorator that the class statement stands for."""
        if isinstance(node, ast.ClassDef) and any(keyword.arg == "config" for keyword in node.keywords):
            function = ExprName("dataclass", parent=ExprName("dataclasses"))  # type: ignore[arg-type]
            call = ExprCall(function, [ExprKeyword("kw_only", "True")])
            cls.decorators.append(Decorator(call, lineno=node.lineno, endlineno=node.lineno))


class LazyNames(Extension):
    """Take the names that a package imports as `X as X` for those of its `__all__`, where that is computed."""

    def on_module_members(self, *, node: ast.AST, mod: Module, **_: Any) -> None:
        """Add them to one module."""
        imports = [one for one in ast.walk(node) if isinstance(one, ast.ImportFrom)]
        mod.exports = mod.exports or [one.name for each in imports for one in each.names if one.asname == one.name]
