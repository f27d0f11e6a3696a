"""What docs/service.md says is what the service has: its options, its metrics, and a unit that names them."""

import configparser
import shlex
from pathlib import Path

from cloud.service.outcomes import REASONS
from cloud.service.prometheus import OLD_NAMES, CloudCollector
from cloud.service.statistics import ServiceStatistics
from emulator.cli.verbs import load_verb
from tests.pages import DOCS, metric_rows, metrics_of, rows, ticked
from tests.rollouts import FIGURES

PAGE = DOCS / "service.md"
UNIT = DOCS / "examples" / "peelfleet-cloud@.service"


def options_of_the_command() -> set[str]:
    params = load_verb("cloud").params
    return {name for param in params for name in (*param.opts, *param.secondary_opts)} - {"--help"}


def test_the_metrics_are_those_of_the_table() -> None:
    labels = {"fleet": "f", "replica": "", "version": "v"}
    families = CloudCollector(ServiceStatistics(), int, int, lambda: labels, lambda: FIGURES).collect()
    expected = metrics_of(family for family in families if family.name not in OLD_NAMES.values())
    assert metric_rows(PAGE, "Metrics") == expected


def test_the_results_and_their_reasons_are_those_of_the_table() -> None:
    table = {ticked(row[0])[0]: sorted(ticked(row[1])) for row in rows(PAGE, "Metrics") if len(row) == 3}
    assert table == {result.value: sorted(reasons) for result, reasons in REASONS.items()}


def test_the_options_are_those_of_the_command() -> None:
    assert {name for row in rows(PAGE, "Options") for name in ticked(row[0])} == options_of_the_command()


def test_the_unit_parses_and_names_options_that_exist() -> None:
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]  # systemd's keys have capitals
    unit.read_string(UNIT.read_text())
    assert unit.sections() == ["Unit", "Service", "Install"]
    program, command, *words = shlex.split(unit["Service"]["ExecStart"])
    assert (Path(program).name, command) == ("peelfleet", "cloud")
    assert {word for word in words if word.startswith("--")} < options_of_the_command()
    assert unit["Service"]["RestartPreventExitStatus"] == "2"
