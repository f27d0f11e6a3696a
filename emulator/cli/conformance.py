"""``peelfleet conformance``: somebody's device against the rules of the protocol."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from cloud.conformance.conversation import ConformanceSettings
from cloud.conformance.mqtt_session import DeviceUnderTest, judge_device
from cloud.conformance.session_cases import check_settings
from cloud.conformance.verdicts import NOT_CHECKED, RULES, ConformanceVerdicts, RuleOutcome
from emulator.cli.exit_statuses import THRESHOLD_BROKE
from emulator.cli.options import default, duration_option, name_option, path_option, quiet_option
from emulator.cli.service_options import (
    BrokerUrl,
    FleetName,
    SigningKey,
    other_signing_function,
    signing_function,
)
from emulator.cli.terminal_width import print_prose
from emulator.exports.conformance_files import conformance_json, conformance_junit
from wire.event_loops import run_event_loop
from wire.output_files import write_with_folder
from wire.text import printable
from wire.topics import Role
from wire.units import Duration

BudgetCommand = Annotated[
    str, typer.Option(metavar="<command>", help="Sets the device's budget to {bytes}.", show_default=False)
]
RestartCommand = Annotated[
    str,
    typer.Option(
        metavar="<command>", help="Starts the device again with budget {bytes}.", show_default=False
    ),
]
KillCommand = Annotated[
    str,
    typer.Option(metavar="<command>", help="Kills the device, which cannot say goodbye.", show_default=False),
]
ProxyPort = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=65_535,
        help="Pass the device's connection on from this port, to cut it.",
        show_default=False,
    ),
]


def conformance(
    broker: BrokerUrl,
    device: Annotated[str, name_option("The device's id, as in its topics.")],
    fleet: FleetName = "conformance",
    budget_command: BudgetCommand = "",
    restart_command: RestartCommand = "",
    kill_command: KillCommand = "",
    proxy_port: ProxyPort = None,
    prompt: Annotated[Duration, duration_option("Longest time to a report that is due at once.")] = default(
        "5 s"
    ),
    calm: Annotated[
        Duration, duration_option("Time for which a device that has nothing to do is watched.")
    ] = default("2 s"),
    silence: Annotated[
        Duration, duration_option("The device's first wait for an answer, without what it draws.")
    ] = default("30 s"),
    start: Annotated[Duration, duration_option("Longest time to the first report.")] = default("1 min"),
    signing_key: SigningKey = None,
    json: Annotated[Path | None, path_option("Write the verdicts into this file, as JSON.")] = None,
    junit: Annotated[Path | None, path_option("Write them as JUnit XML.")] = None,
    quiet: Annotated[bool, quiet_option("Print the rules that failed, and the last line.")] = False,
) -> None:
    """Play the cloud against a device, and judge it rule by rule; see docs/conformance.md."""
    tested = DeviceUnderTest(fleet, device, budget_command, restart_command, kill_command, proxy_port)
    tested.check_commands()
    settings = ConformanceSettings(
        prompt_ns=prompt,
        quiet_ns=calm,
        silence_ns=silence,
        start_ns=start,
        sets_budget=bool(budget_command),
        restarts=bool(restart_command),
        kills=bool(kill_command),
        cuts=proxy_port is not None,
    )
    check_settings(settings)
    connection = broker.connection(Role.CLOUD, f"conformance:{fleet}.{device}")
    sign = signing_function(signing_key)
    signing = None if sign is None else (sign, other_signing_function())
    verdicts = run_event_loop(judge_device(connection, tested, settings, signing))
    for line in verdict_lines(verdicts, quiet=quiet):
        print_prose(Console(), line, hanging=5)
    if json is not None:
        write_with_folder(json, conformance_json(device, verdicts))
    if junit is not None:
        write_with_folder(junit, conformance_junit(device, verdicts))
    if verdicts.failed:
        raise typer.Exit(THRESHOLD_BROKE)


def verdict_lines(verdicts: ConformanceVerdicts, *, quiet: bool) -> list[str]:
    """Return the verdicts for people: a line for each rule, the messages below a rule that failed."""
    lines: list[str] = []
    for verdict in verdicts.by_rule.values():
        if quiet and verdict.outcome is not RuleOutcome.FAILED:
            continue
        reason = f": {verdict.reason}" if verdict.reason else ""
        lines.append(printable(f"{verdict.rule:4} {verdict.outcome.value:14} {RULES[verdict.rule]}{reason}"))
        lines += [printable(f"       {message}") for message in verdict.messages]
    outcomes = [verdict.outcome for verdict in verdicts.by_rule.values()]
    counts = ", ".join(f"{outcomes.count(outcome)} {outcome.value}" for outcome in RuleOutcome)
    return [*lines, f"{counts}; not checked: {', '.join(NOT_CHECKED)}"]
