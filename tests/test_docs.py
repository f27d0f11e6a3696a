"""The docs say what the code does: their examples decode, their tables are the code's, their links exist."""

import re
from pathlib import Path

import pytest

from scenarios.load import shipped
from wire.messages import BudgetReport, decode
from wire.topics import TABLE, Kind, Role, subscription

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.DOTALL)


def test_the_scenario_that_the_readme_explains_is_one_that_ships() -> None:
    (excerpt,) = blocks(ROOT / "README.md", "yaml")
    assert excerpt in (ROOT / "scenarios" / "squeeze.yaml").read_text()


def test_the_report_that_the_protocol_shows_decodes() -> None:
    (example,) = blocks(ROOT / "docs" / "protocol.md", "json")
    expected = BudgetReport(seq=3, budget_bytes=4096, user=7, model="ab12", held=5)
    assert decode(example.encode(), BudgetReport) == expected


def test_the_topics_of_the_protocol_page_are_those_of_the_table() -> None:
    page = (ROOT / "docs" / "protocol.md").read_text()
    rows = re.findall(r"^\| `(peel/1/[^`]*)` \| (\w+).*? \| (\d) \| (no|yes) \|", page, re.MULTILINE)
    expected = []
    for kind, route in TABLE.items():
        topic = subscription(kind, "F", "D").replace("+/+/+", "<model>/<group>/<layer>")
        sender = "cloud" if Role.CLOUD in route.writers else "device"
        shown = topic.replace("/F", "/<fleet>").replace("/D", "/<device>")
        expected.append((shown, sender, str(route.qos), "yes" if route.retained else "no"))
    assert sorted(rows) == sorted(expected)
    assert len(rows) == len(Kind)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)\)", page.read_text())
    local = [link for link in links if not link.startswith("https://")]
    assert [link for link in local if not (page.parent / link).exists()] == []


def test_every_shipped_scenario_is_run_by_a_command_that_its_header_names() -> None:
    for path in shipped():
        assert f"peelfleet run scenarios/{path.name}" in path.read_text()


def test_the_readme_lists_every_scenario_that_ships() -> None:
    text = (ROOT / "README.md").read_text()
    assert [path.stem for path in shipped() if f"`{path.stem}`" not in text and path.name not in text] == []
