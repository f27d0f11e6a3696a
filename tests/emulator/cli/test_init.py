"""The template: it explains every top-level key, is valid as it is, runs, and overwrites nothing unasked."""

from pathlib import Path

import msgspec
import pytest

from emulator.cli.init import TEMPLATE, template
from scenarios.language.load import parse, shipped
from scenarios.language.scenario import Scenario
from scenarios.language.sweep_expansion import expand
from tests.emulator.cli.test_main import peelfleet


def test_it_has_every_top_level_key_with_a_comment_and_is_no_shipped_scenario() -> None:
    lines = template().splitlines()
    for key in Scenario.__struct_fields__:
        (at,) = [at for at, line in enumerate(lines) if line.startswith(f"{key}:")]
        assert "#" in lines[at] or lines[at - 1].startswith("#") or key in ("description", "cloud"), key
    assert TEMPLATE not in shipped()


def test_it_runs_as_it_is_and_can_be_swept(tmp_path: Path, store_root: Path) -> None:
    assert peelfleet("init", "my-fleet.yaml", folder=tmp_path).stdout.startswith("my-fleet.yaml: written")
    assert (
        peelfleet("validate", "my-fleet.yaml", folder=tmp_path).stdout == "my-fleet.yaml: my-fleet is valid\n"
    )
    done = peelfleet("run", "my-fleet.yaml", "--store", store_root, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [path.name.rsplit("-", 1)[0] for path in (tmp_path / "runs").iterdir()] == ["my-fleet-1"]
    assert "peelfleet run my-fleet.yaml" in (tmp_path / "my-fleet.yaml").read_text()
    plan = expand((tmp_path / "my-fleet.yaml").read_text())
    assert (len(plan.combinations), plan.seeds) == (4, (1, 2, 3))


def test_it_overwrites_only_when_forced(tmp_path: Path) -> None:
    (tmp_path / "scenario.yaml").write_text("mine")
    refused = peelfleet("init", folder=tmp_path)
    assert (refused.returncode, (tmp_path / "scenario.yaml").read_text()) == (2, "mine")
    assert refused.stderr == "peelfleet: scenario.yaml: exists already; --force overwrites it\n"
    assert peelfleet("init", "--force", folder=tmp_path).returncode == 0
    assert parse((tmp_path / "scenario.yaml").read_text()).name == "scenario"


@pytest.mark.parametrize(
    ("file", "name"), [("no.yaml", "no"), ("a b.yaml", "scenario"), ("2024-01-01.yaml", "2024-01-01")]
)
def test_the_scenario_is_named_after_its_file_where_it_can_be(tmp_path: Path, file: str, name: str) -> None:
    assert peelfleet("init", file, folder=tmp_path).returncode == 0
    assert parse((tmp_path / file).read_text()).name == name


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    done = peelfleet("init", "no/such/x.yaml", folder=tmp_path)
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    assert done.stderr.startswith("peelfleet: no/such/x.yaml: cannot be written: ")


def test_the_template_is_as_its_types_say() -> None:
    assert msgspec.structs.replace(parse(template()), sweep=None) == expand(template()).base
