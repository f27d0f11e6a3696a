"""Help of the verbs that a narrow terminal shows whole."""

import shutil
from collections.abc import Callable
from typing import Any, Final, TypeVar

import typer
from typer.core import TyperArgument, TyperCommand, TyperOption

Function = TypeVar("Function", bound=Callable[..., Any])

WIDE: Final = 140
"""Columns from which the help of a verb fits into typer's tables, which cut what does not fit."""


class Verb(TyperCommand):
    """A command whose help is a plain list where the terminal is too narrow for a table."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help; typer has no types for what it takes."""
        if shutil.get_terminal_size().columns < WIDE:
            self.rich_markup_mode = None
            for param in self.params:  # their words escape what would be markup in a table
                if isinstance(param, TyperOption | TyperArgument) and param.help:
                    param.help = param.help.replace("\\[", "[")
        super().format_help(ctx, formatter)


class Verbs(typer.Typer):
    """A group of verbs."""

    def command(self, *names: Any, **settings: Any) -> Callable[[Function], Function]:
        """Return the decorator that makes a function a verb."""
        return super().command(*names, **{"cls": Verb, **settings})
