"""Options that several verbs have, and the parsers of their values.

A parser returns the value of a text, or refuses it with `wrong`. The command line then ends with exit status
2 and one line such as ``--budget(='9x') must be a size such as 64 MiB``. Parsers read defaults, too.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NoReturn

import typer

from emulator.executors.open_executor import FORMS, ExecutorName, read_executor
from wire.topics import valid_name
from wire.units import (
    BYTE_UNITS,
    TIME_UNITS,
    Bytes,
    Duration,
    Share,
    parse_bytes,
    parse_duration,
    read_share,
)

WEB_MODULES: Final = ("jinja2", "starlette", "uvicorn", "websockets")
"""The modules of the extra `web`."""
BROKER_URL: Final = r"mqtt\[s]|ws\[s]://\[user:password@]host[:port]"
"""The form of a broker's URL; escaped, since brackets are style in typer's tables."""


def wrong(text: object, rule: str) -> NoReturn:
    """Refuse the value *text* of an option, which must be *rule*.

    Raises:
        BadParameter: always; typer adds the name of the option.
    """
    raise typer.BadParameter(f"{text!r} is not {rule}")


def default(text: str) -> Any:  # Any: the option has the type that its parser returns
    """Return the default of an option that has a parser: the help shows the text, the parser reads it."""
    return text


def path(text: str | Path) -> Path:
    """Return the file or folder *text*; an empty text would be the working folder."""
    return Path(text) if str(text) else wrong(text, "the name of a file or folder: is a variable not set?")


def size(text: str) -> Bytes:
    """Return the number of bytes of a size such as ``64 MiB``; a number without a unit is one of bytes."""
    try:
        return Bytes(int(text)) if text.isascii() and text.isdecimal() else parse_bytes(text)
    except ValueError:
        wrong(text, f"a size in whole bytes such as 64 MiB (units: {', '.join(BYTE_UNITS)})")


def duration(text: str) -> Duration:
    """Return the nanoseconds of a duration such as ``250 ms``."""
    try:
        return parse_duration(text)
    except ValueError:
        wrong(text, f"a duration such as 250 ms or 1 h 30 min (units: {', '.join(TIME_UNITS)})")


def positive_duration(text: str) -> Duration:
    """Return the nanoseconds of a duration above 0."""
    return duration(text) or wrong(text, "a duration above 0 s")


def share(text: str) -> Share:
    """Return the number from 0 to 1 of a share such as ``5 %`` or ``0.05``."""
    try:
        return read_share(text)
    except ValueError:
        wrong(text, "a share from 0 to 1 such as 5 % or 0.05")


def sample_share(text: str) -> Share:
    """Return a share above 0."""
    return share(text) or wrong(text, "a share above 0")


def topic_name(text: str) -> str:
    """Return a name that can stand in an MQTT topic."""
    return text if valid_name(text) else wrong(text, "1 to 64 letters, digits, '.', '_' or '-'")


def one_of(choices: Iterable[str]) -> Callable[[str], str]:
    """Return a parser of a choice, for choices that are known only when the program runs."""
    names = list(choices)

    def choice(text: str) -> str:
        return text if text in names else wrong(text, f"one of {', '.join(names)}")

    return choice


def executor(text: str | ExecutorName) -> ExecutorName:
    """Return the executor of a name such as ``processes`` or ``ray:auto``."""
    if isinstance(text, ExecutorName):
        return text
    try:
        return read_executor(text)
    except ValueError:
        wrong(text, FORMS)


def quiet_option(text: str) -> Any:  # Any, here and below: typer's own type is private
    """Return the declaration of ``--quiet``.

    Args:
        text: the help: it says which line is still printed.
    """
    return typer.Option("--quiet", "-q", help=text)


def path_option(text: str, *names: str) -> Any:
    """Return the declaration of an option whose value is a file or folder.

    Args:
        text: the help.
        names: the names of the option, if they are not that of the parameter.
    """
    return typer.Option(*names, parser=path, metavar="<path>", help=text)


def size_option(text: str) -> Any:
    """Return the declaration of an option whose value is a number of bytes."""
    return typer.Option(parser=size, metavar="<size>", help=text)


def duration_option(text: str, *names: str, zero: bool = False) -> Any:
    """Return the declaration of an option whose value is a duration, above 0 unless *zero* is allowed."""
    read = duration if zero else positive_duration
    return typer.Option(*names, parser=read, metavar="<duration>", help=text)


def share_option(text: str) -> Any:
    """Return the declaration of an option whose value is a share."""
    return typer.Option(parser=share, metavar="<share>", help=text)


def name_option(text: str) -> Any:
    """Return the declaration of an option whose value stands in MQTT topics."""
    return typer.Option(parser=topic_name, metavar="<name>", help=text)


ScenarioFile = Annotated[
    Path,
    typer.Argument(
        help="A scenario file (YAML), or the name of one that comes with peelfleet.", show_default=False
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a key: fleet[0].count=10."),
]
Seed = Annotated[int | None, typer.Option(help="Seed of the run, instead of the scenario's.")]
Clock = Annotated[
    Literal["virtual", "lockstep", "realtime"] | None,
    typer.Option(help="The clock, instead of the scenario's."),
]
Sample = Annotated[
    Share | None,
    typer.Option(
        parser=sample_share,
        metavar="<share>",
        help="Simulate a share of each group and scale it to the fleet: 1 %.",
        show_default=False,
    ),
]
Broker = Annotated[
    str | None,
    typer.Option(envvar="PEELFLEET_BROKER", help=f"auto, mosquitto, amqtt, rabbitmq, nats or {BROKER_URL}."),
]
Data = Annotated[
    Path | None, path_option("Folder or file of the scenario's data; default: in PEELFLEET_DATA.")
]
Out = Annotated[Path, path_option("Folder for run directories.")]
Shards = Annotated[
    int, typer.Option(min=1, help="Processes of a fleet in real time; under the virtual clock as --workers.")
]
Workers = Annotated[
    int | None,
    typer.Option(min=1, help="Most processes of a fleet under the virtual clock; default: all cores."),
]
Force = Annotated[bool, typer.Option("--force", help="Start even where disk or memory will not suffice.")]
Speed = Annotated[
    float | None, typer.Option(help="Simulated seconds in a second, in real time.", show_default=False)
]
ResultFiles = Annotated[
    list[Path] | None,
    path_option("File for the verdict: .xml (JUnit) or .md (Markdown); may be repeated."),
]
ExecutorOption = Annotated[
    ExecutorName,
    typer.Option(parser=executor, metavar="<executor>", help=f"{FORMS}.", show_default=False),
]
RangeExecutor = Annotated[
    ExecutorName | None,
    typer.Option(
        parser=executor,
        metavar="<executor>",
        help=f"Where they run: {FORMS}; default: processes.",
        show_default=False,
    ),
]
RunDirectory = Annotated[Path, typer.Argument(help="A finished run directory.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Print the result as a JSON object, for programs.")]
RunJson = Annotated[
    bool, typer.Option("--json", help="Print the summary and the run's folder as a JSON object.")
]
RunQuiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print the verdict and the report only; no progress.")
]
Store = Annotated[
    Path | None, path_option("Folder in which trained models are cached; else PEELFLEET_STORE.")
]


def overrides(set_: list[str] | None, **keys: Any) -> list[str]:  # Any: a number or a text, both printed
    """Return the values of ``--set`` and then, since the last one wins, the *keys* that are not None."""
    return [*(set_ or []), *(f"{key}={value}" for key, value in keys.items() if value is not None)]
