"""The help texts: verbs in panels, closed choices listed, the version."""

import re
from importlib.metadata import version

import pytest
from typer.testing import CliRunner

from emulator.cli.main import app

PANELS = {
    "Experiments": ["play", "ui", "run", "sweep", "compare", "evaluate", "replay", "diff", "report"],
    "Scenarios and traces": ["init", "validate", "scenarios", "plugins", "trace"],
    "Models": ["train", "pee", "catalogue", "fold-in", "recommend"],
    "Services and devices": [
        "cloud",
        "rollout",
        "devices",
        "gather",
        "agent",
        "conformance",
        "signing-key",
        "broker",
    ],
}


def printed(*arguments: str, status: int = 0) -> str:
    result = CliRunner(env={"COLUMNS": "80", "TERM": "dumb"}).invoke(app, arguments)
    assert result.exit_code == status, result.output
    return result.output


def test_every_verb_stands_in_the_panel_of_what_a_person_wants_to_do() -> None:
    panels: dict[str, list[str]] = {}
    panel = ""
    for line in printed("--help").splitlines():
        if title := re.match(r"╭─ (.+?) ─", line):
            panel = title[1]
        elif verb := re.match(r"│ ([a-z][a-z-]*) +\S", line):
            panels.setdefault(panel, []).append(verb[1])
    assert panels == PANELS


def test_the_version_is_that_of_the_distribution() -> None:
    assert printed("--version") == f"peelfleet {version('peelfleet')}\n"


@pytest.mark.parametrize(
    ("verb", "choices"),
    [
        (["run"], "<virtual|lockstep|realtime>"),
        (["replay"], "<virtual|lockstep>"),
        (["cloud"], "<text|json>"),
        (["cloud"], "<delta|full>"),
        (["broker", "start"], "<auto|mosquitto|amqtt|rabbitmq|nats>"),
        (["broker", "init"], "<mosquitto|emqx>"),
    ],
)
def test_help_lists_closed_choices(verb: list[str], choices: str) -> None:
    assert choices in re.sub(r"[│\s]+", "", printed(*verb, "--help"))


@pytest.mark.parametrize("columns", [40, 80, 139, 140])
def test_help_of_every_verb_is_shown_whole(columns: int) -> None:
    for verb in [verb for verbs in PANELS.values() for verb in verbs] + [
        "trace record",
        "trace import",
        "broker init",
    ]:
        result = CliRunner(env={"COLUMNS": f"{columns}", "TERM": "dumb"}).invoke(
            app, [*verb.split(), "--help"]
        )
        assert "…" not in result.output
        assert max(map(len, result.output.splitlines())) <= max(columns, 80)
    text = re.sub(r"\s+", " ", printed("cloud", "--help"))
    for words in (
        "--full-if-delta-over",
        "mqtt[s]|ws[s]://[user:password@]host[:port]",
        "--no-retain-blocks",
        "PEELFLEET_BROKER",
    ):
        assert words in text
