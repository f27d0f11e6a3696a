"""``peelfleet init``: a commented scenario to start from."""

import re
from pathlib import Path
from typing import Annotated

import typer

import scenarios
from wire.errors import InputError
from wire.output_files import os_error_text, resolve_output, write_atomically
from wire.topics import valid_name

TEMPLATE = Path(__file__).with_name("template.yaml")
SCHEMA = Path(scenarios.__file__).with_name("schema.json")
"""The JSON schema, by which editors complete and check YAML."""
_NAME = re.compile(r"^name: .*$", re.MULTILINE)
MAX_NAME = 40


def init(
    file: Annotated[Path, typer.Argument(help="The file to write.")] = Path("scenario.yaml"),
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file if it exists.")] = False,
) -> None:
    """Write a commented scenario to start from: every key explained, ready to run."""
    typer.echo(write_template(file, force=force))


def write_template(file: Path, *, force: bool) -> str:
    """Write the template to *file*, and name the scenario after it; return a line for the user.

    Args:
        file: the file to write.
        force: overwrite the file if it exists.

    Raises:
        InputError: the file exists, or cannot be written.
    """
    stem = file.stem if valid_name(file.stem) and len(file.stem) <= MAX_NAME else "scenario"
    text = _NAME.sub(f"name: '{stem}'" if _needs_quotes(stem) else f"name: {stem}", template(), count=1)
    if resolve_output(file).exists() and not force:
        raise InputError(f"{file}: exists already; --force overwrites it")
    try:
        write_atomically(file, text.replace("FILE", file.name).replace("SCHEMA", str(SCHEMA)).encode())
    except OSError as error:
        raise InputError(f"{file}: cannot be written: {os_error_text(error)}") from None
    return f"{file}: written; run it:  peelfleet run {file}"


def template() -> str:
    """Return the commented scenario."""
    return TEMPLATE.read_text(encoding="utf-8")


def _needs_quotes(name: str) -> bool:
    from scenarios.language.yaml_scalars import is_plain_text

    return not is_plain_text(name)
