"""The registry of verbs, and the command group that imports a verb when it is used.

A verb is one file and one line of `VERBS`: module ``emulator.cli.run`` has a function ``run`` whose
parameters are the options and whose docstring is the help. Help pages and shell completion read the first
paragraph of the docstring from the source, so that they import no verb.
"""

import ast
import functools
import importlib
import inspect
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

WIDE: Final = 140
"""Columns from which the help of a verb fits into typer's tables, which cut long lines."""


class Panel(StrEnum):
    """Panels of the help page, by the user's aim."""

    EXPERIMENT = "Experiments"
    SCENARIO = "Scenarios and traces"
    MODEL = "Models"
    SERVICE = "Services and devices"


@dataclass(frozen=True)
class Verb:
    """A verb: its module, and its panel on the help page.

    The module has a function with the module's own name.
    """

    module: str
    panel: Panel | None = None


@dataclass(frozen=True)
class Family:
    """A verb with verbs of its own, such as ``trace record``."""

    help: str
    panel: Panel
    verbs: Mapping[str, Verb]


VERBS: Final[Mapping[str, Verb | Family]] = {
    "play": Verb("emulator.cli.play", Panel.EXPERIMENT),
    "ui": Verb("emulator.cli.ui", Panel.EXPERIMENT),
    "run": Verb("emulator.cli.run", Panel.EXPERIMENT),
    "sweep": Verb("emulator.cli.sweep", Panel.EXPERIMENT),
    "compare": Verb("emulator.cli.compare", Panel.EXPERIMENT),
    "evaluate": Verb("emulator.cli.evaluate", Panel.EXPERIMENT),
    "replay": Verb("emulator.cli.replay", Panel.EXPERIMENT),
    "diff": Verb("emulator.cli.diff", Panel.EXPERIMENT),
    "report": Verb("emulator.cli.report", Panel.EXPERIMENT),
    "init": Verb("emulator.cli.init", Panel.SCENARIO),
    "validate": Verb("emulator.cli.validate", Panel.SCENARIO),
    "scenarios": Verb("emulator.cli.scenarios", Panel.SCENARIO),
    "plugins": Verb("emulator.cli.plugins", Panel.SCENARIO),
    "trace": Family(
        "Record, import and inspect traces of memory and availability.",
        Panel.SCENARIO,
        {
            "record": Verb("emulator.cli.trace.record"),
            "recover": Verb("emulator.cli.trace.recover"),
            "import": Verb("emulator.cli.trace.import_trace"),
            "inspect": Verb("emulator.cli.trace.inspect"),
        },
    ),
    "train": Verb("emulator.cli.train", Panel.MODEL),
    "pee": Verb("emulator.cli.pee", Panel.MODEL),
    "catalogue": Verb("emulator.cli.catalogue", Panel.MODEL),
    "fold-in": Verb("emulator.cli.fold_in", Panel.MODEL),
    "recommend": Verb("emulator.cli.recommend", Panel.MODEL),
    "cloud": Verb("emulator.cli.cloud", Panel.SERVICE),
    "rollout": Family(
        "Bring a model version to a fleet, group by group.",
        Panel.SERVICE,
        {
            "start": Verb("emulator.cli.rollout.start"),
            "status": Verb("emulator.cli.rollout.status"),
            "pause": Verb("emulator.cli.rollout.pause"),
            "resume": Verb("emulator.cli.rollout.resume"),
            "rollback": Verb("emulator.cli.rollout.rollback"),
        },
    ),
    "devices": Verb("emulator.cli.devices", Panel.SERVICE),
    "gather": Verb("emulator.cli.gather", Panel.SERVICE),
    "agent": Verb("emulator.cli.agent", Panel.SERVICE),
    "conformance": Verb("emulator.cli.conformance", Panel.SERVICE),
    "signing-key": Verb("emulator.cli.signing_key", Panel.SERVICE),
    "broker": Family(
        "Run a broker, or set one up for a test fleet, and care for its users.",
        Panel.SERVICE,
        {
            "start": Verb("emulator.cli.broker.start"),
            "init": Verb("emulator.cli.broker.init"),
            "add": Verb("emulator.cli.broker.add"),
            "list": Verb("emulator.cli.broker.list"),
            "revoke": Verb("emulator.cli.broker.revoke"),
            "rotate": Verb("emulator.cli.broker.rotate"),
            "clean": Verb("emulator.cli.broker.clean"),
        },
    ),
}


class VerbCommand(TyperCommand):
    """A command whose help is a plain list if the terminal is too narrow for a table."""

    def format_help(self, ctx: Any, formatter: Any) -> None:  # Any: typer's own types are private
        """Write the help."""
        if shutil.get_terminal_size().columns < WIDE:
            self.rich_markup_mode = None
            for param in self.params:  # in a table "\\[" stands for a bracket
                if isinstance(param, TyperOption | TyperArgument) and param.help:
                    param.help = param.help.replace("\\[", "[")
        super().format_help(ctx, formatter)


class VerbGroup(TyperGroup):
    """A group of verbs that are imported when they are used.

    Args:
        verbs: the verbs by name; those of `VERBS` by default.
        attributes: what typer's group takes.
    """

    def __init__(self, *, verbs: Mapping[str, Verb | Family] | None = None, **attributes: Any) -> None:
        super().__init__(**attributes)
        self._verbs = VERBS if verbs is None else verbs

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of the verbs, in order."""
        return list(self._verbs)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return the command that help pages and completion show for a verb, without importing it."""
        verb = self._verbs.get(cmd_name)
        if isinstance(verb, Verb):
            return TyperCommand(cmd_name, help=_summary(verb), rich_help_panel=verb.panel)
        return None if verb is None else _family(cmd_name, verb)

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Return the name, the imported command and the remaining arguments of the verb that *args* call."""
        if args[0] in self._verbs:
            return args[0], load_verb(args[0], self._verbs), args[1:]
        self.commands = {name: self.get_command(ctx, name) for name in self._verbs}  # for suggestions
        return super().resolve_command(ctx, args)


def load_verb(name: str, verbs: Mapping[str, Verb | Family] = VERBS) -> Any:
    """Import the verb *name*, and return typer's command for it."""
    verb = verbs[name]
    if isinstance(verb, Family):
        return _family(name, verb)
    module = importlib.import_module(verb.module)
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command(name, cls=VerbCommand)(getattr(module, _function_name(verb)))
    return typer.main.get_command(app)


def _family(name: str, family: Family) -> VerbGroup:
    return VerbGroup(
        name=name,
        help=family.help,
        rich_help_panel=family.panel,
        verbs=family.verbs,
        no_args_is_help=True,
    )


@functools.cache
def _summary(verb: Verb) -> str:
    """Return the first paragraph of the docstring of a verb's function, read from the source file."""
    file = Path(__file__).parents[2].joinpath(*verb.module.split(".")).with_suffix(".py")
    for node in ast.parse(file.read_bytes()).body:
        if isinstance(node, ast.FunctionDef) and node.name == _function_name(verb):
            return inspect.cleandoc(ast.get_docstring(node) or "").split("\n\n")[0]
    return ""


def _function_name(verb: Verb) -> str:
    return verb.module.rpartition(".")[2]
