"""The table of docs/brokers.md: ``make docs-brokers`` tries every broker that is installed and writes it.

The column of a broker that is not installed stays as it is.
"""

import asyncio
import re
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import get_args

from benchmarks.broker_trials import CRASH, TRIALS, BrokerOnTrial, run_trials, trial_devices
from benchmarks.traffic import replace_tables, table_pattern
from broker_config.daemons import BrokerKind
from broker_config.launch import PROGRAMS, is_installed, launch_broker

PAGE = Path(__file__).resolve().parents[1] / "docs" / "brokers.md"
NAME, VERSION = "what-each-broker-can-do", "version tried"
KINDS: tuple[BrokerKind, ...] = get_args(BrokerKind)


def version_of(kind: BrokerKind) -> str:
    """Return the version of an installed broker, as it prints it."""
    if kind == "amqtt":
        return version("amqtt")
    program = PROGRAMS[kind].executable()
    assert program is not None
    if kind == "rabbitmq":
        return next(Path(program).parents[1].glob("lib/rabbitmq_server-*")).name.rpartition("-")[2]
    shown = subprocess.run(
        [program, "-h" if kind == "mosquitto" else "--version"], capture_output=True, text=True, check=False
    ).stdout
    number = re.search(r"\d+\.\d+\.\d+", shown)
    assert number is not None, f"{program} must print its version"
    return number[0]


def try_broker(kind: BrokerKind) -> dict[str, str]:
    """Return the column of a broker, by the headings of the rows."""
    devices = trial_devices()
    with launch_broker(kind, devices=devices) as running:
        return {VERSION: version_of(kind), **asyncio.run(run_trials(BrokerOnTrial(running, devices)))}


def columns_of(page: str) -> dict[str, dict[str, str]]:
    """Return the columns of the table of a page, by the names of brokers."""
    table = table_pattern(NAME).search(page)
    assert table is not None, f"{PAGE.name} must hold the table {NAME}"
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in table[0].splitlines() if "|" in line
    ]
    heading, _, *body = rows or [["", *KINDS], []]
    return {kind: {row[0]: row[number] for row in body} for number, kind in enumerate(heading[1:], start=1)}


def markdown(columns: Mapping[str, Mapping[str, str]]) -> str:
    """Return the table."""
    lines = ["| | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for row in (VERSION, *TRIALS, CRASH):
        cells = [column.get(row, "") for column in columns.values()]
        lines.append(f"| {row} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Try the brokers that are named, else all; rewrite their columns."""
    page = PAGE.read_text(encoding="utf-8")
    columns = {kind: dict[str, str]() for kind in KINDS} | columns_of(page)
    for kind in KINDS:
        if is_installed(kind) and kind in (sys.argv[1:] or KINDS):
            columns[kind] = try_broker(kind)
    PAGE.write_text(replace_tables(page, {NAME: markdown(columns)}), encoding="utf-8")


if __name__ == "__main__":
    main()
