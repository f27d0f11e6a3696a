"""What docs/service.md says is what the service has: its options, its metrics, and a unit that names them."""

import configparser
import re
import shlex
from pathlib import Path

from cloud.service.outcomes import REASONS
from cloud.service.prometheus import CloudCollector
from cloud.service.statistics import ServiceStatistics
from emulator.cli.verbs import load_verb

DOCS = Path(__file__).parents[1] / "docs"
PAGE = (DOCS / "service.md").read_text()
UNIT = DOCS / "examples" / "peelfleet-cloud@.service"


def rows(section: str) -> list[list[str]]:
    """Return the cells of each row of the tables of a section, their heads left out."""
    text = PAGE.split(f"\n## {section}\n")[1].split("\n## ")[0]
    lines = [line for line in text.splitlines() if line.startswith("| `") and "| `reason` |" not in line]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def ticked(cell: str) -> list[str]:
    return re.findall(r"`([^`]*)`", cell)


def options_of_the_command() -> set[str]:
    params = load_verb("cloud").params
    return {name for param in params for name in (*param.opts, *param.secondary_opts)} - {"--help"}


def test_the_metrics_are_those_of_the_table() -> None:
    labels = {"fleet": "f", "replica": "", "version": "v"}
    expected = {}
    for family in CloudCollector(ServiceStatistics(), int, int, labels).collect():
        name = family.name + {"counter": "_total", "info": "_info"}.get(family.type, "")
        found = {label for sample in family.samples for label in sample.labels} - {"le"}
        expected[name] = ("gauge" if family.type == "info" else family.type, sorted(found))
    table = {ticked(row[0])[0]: (row[1], sorted(ticked(row[2]))) for row in rows("Metrics") if len(row) == 4}
    assert table == expected


def test_the_results_and_their_reasons_are_those_of_the_table() -> None:
    table = {ticked(row[0])[0]: sorted(ticked(row[1])) for row in rows("Metrics") if len(row) == 3}
    assert table == {result.value: sorted(reasons) for result, reasons in REASONS.items()}


def test_the_options_are_those_of_the_command() -> None:
    assert {name for row in rows("Options") for name in ticked(row[0])} == options_of_the_command()


def test_the_unit_parses_and_names_options_that_exist() -> None:
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]  # systemd's keys have capitals
    unit.read_string(UNIT.read_text())
    assert unit.sections() == ["Unit", "Service", "Install"]
    program, command, *words = shlex.split(unit["Service"]["ExecStart"])
    assert (Path(program).name, command) == ("peelfleet", "cloud")
    assert {word for word in words if word.startswith("--")} < options_of_the_command()
    assert unit["Service"]["RestartPreventExitStatus"] == "2"
