"""A scenario: its fields, checked when it is created, so that no unchecked scenario exists."""

from scenarios.language.checks import check_scenario
from scenarios.language.schema import ScenarioFields


class Scenario(ScenarioFields, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One experiment: the data, the model, the fleet, its networks and the clock."""

    def __post_init__(self) -> None:
        self.fill_in()
        check_scenario(self)
