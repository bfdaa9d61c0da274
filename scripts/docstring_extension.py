"""Turns the one habit of reStructuredText in our docstrings, `::` before a piece of code, into Markdown."""

import re

import griffe


class Docstrings(griffe.Extension):  # type: ignore[misc]  # no type where it is not installed
    """Given each object that has a docstring."""

    def on_object(self, *, obj: griffe.Object, **_: object) -> None:
        if obj.docstring is not None:
            text = re.sub(r"(?m)^\s*::$", "", obj.docstring.value)
            obj.docstring.value = re.sub(r"::$", ":", text, flags=re.MULTILINE)
