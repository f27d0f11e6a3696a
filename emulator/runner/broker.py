"""The broker of a run: one that the run starts, or one that is running already."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from broker_config.endpoint import Endpoint, check_reachable, parse_url
from broker_config.launch import RunningBroker, launch_broker
from emulator.realtime.local_fleet import device_passwords
from scenarios.language.checks import BROKERS
from scenarios.language.scenario import Scenario
from wire.errors import InputError, RunError
from wire.units import format_bytes

REACH_TIMEOUT_S = 5.0


@contextmanager
def open_broker(
    scenario: Scenario, broker: str, on_warning: Callable[[str], None]
) -> Iterator["RunBroker | None"]:
    """Yield the broker for a run of *scenario*, ready to be used; None if the run needs none.

    Args:
        scenario: the scenario.
        broker: one of `BROKERS`, or a URL.
        on_warning: receives a text about features that the broker lacks and the run does not need.

    Raises:
        InputError: the broker does not answer, or lacks a feature that the scenario needs.
        RunError: a managed broker does not start.
    """
    if scenario.clock == "virtual":
        yield None
    elif broker in BROKERS:
        passwords = device_passwords(scenario)
        with launch_broker(broker, devices=passwords) as running:  # type: ignore[arg-type]  # the literals just named
            _check_capable(scenario, running.endpoint, on_warning)
            yield RunBroker(running.endpoint, running, passwords)
    else:
        endpoint = parse_url(broker)
        check_reachable(endpoint, REACH_TIMEOUT_S)
        yield RunBroker(endpoint, None)


@dataclass(frozen=True)
class RunBroker:
    """The broker of a run."""

    endpoint: Endpoint
    process: RunningBroker | None
    """Its process, if the run started it."""
    passwords: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Passwords of devices that log in as users of their own."""

    def restarts(self) -> int:
        """Return how often it was restarted."""
        return self.process.restarts if self.process else 0

    def restart_if_dead(self) -> None:
        """Restart a managed broker if its process has ended.

        Raises:
            RunError: it does not start.
        """
        if self.process and self.process.exit_report():
            self.process.restart()

    def check(self) -> None:
        """Check that a managed broker is running.

        Raises:
            RunError: its process has ended.
        """
        report = self.process.exit_report() if self.process else None
        if report:
            raise RunError(report)


def _check_capable(scenario: Scenario, endpoint: Endpoint, on_warning: Callable[[str], None]) -> None:
    """Check that the broker has what the scenario needs; warn of features that only clients would miss."""
    _check_messages(scenario, endpoint)
    if scenario.clock != "realtime":
        return
    settings, can = scenario.realtime, endpoint.capabilities
    if settings.replicas > 1 and not can.shared_subscriptions:
        raise InputError(
            f"realtime.replicas(={settings.replicas}) must be 1 on broker {endpoint.kind}: it has no shared "
            "subscriptions"
        )
    if settings.connections != "per_device":
        return
    # These change no result: no device listens to wills, and every device reports again when it reconnects.
    lacking = [
        feature
        for feature, supported in (
            ("last wills of devices that fall silent", can.wills_on_keepalive_expiry),
            ("last wills of devices whose client id is taken over", can.wills_on_takeover),
            ("sessions that outlast a connection", can.offline_queues or not settings.persistent),
        )
        if not supported
    ]
    if lacking:
        on_warning(
            f"broker {endpoint.kind} has no {', no '.join(lacking)}: do not test here who relies on them"
        )


def _check_messages(scenario: Scenario, endpoint: Endpoint) -> None:
    """Check that the broker carries the topics and the parts of the scenario."""
    can, largest = endpoint.capabilities, scenario.updates.max_payload
    if largest > can.largest_part_bytes:
        raise InputError(
            f"updates.max_payload(={format_bytes(largest)}) must be at most "
            f"{format_bytes(can.largest_part_bytes)} on broker {endpoint.kind}"
        )
    names = {"name": scenario.name}
    names |= {f"fleet[{number}].name": group.name for number, group in enumerate(scenario.fleet)}
    for key, name in names.items():
        if "." in name and not can.names_with_dots:
            raise InputError(
                f"{key}(={name}) must have no '.' on broker {endpoint.kind}: it writes the levels of a topic "
                "with dots between them"
            )
