"""The broker of a run: one of our own, or one that is there already."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from broker_config.endpoint import Endpoint, check_reachable, parse_url
from broker_config.launch import RunningBroker, launch_broker
from emulator.realtime.local_fleet import device_passwords
from scenarios.language.scenario import Scenario
from wire.errors import InputError, RunError

REACH_TIMEOUT_S = 5.0
MANAGED = ("auto", "mosquitto", "amqtt")
"""Brokers that a run starts by itself."""


@contextmanager
def open_broker(
    scenario: Scenario, wanted: str, warned: Callable[[str], None]
) -> Iterator["RunBroker | None"]:
    """Give the broker that a run of *scenario* needs, reachable; None where it needs none.

    Args:
        scenario: what is to be run.
        wanted: one of `MANAGED`, or a URL.
        warned: told of what the broker does not do, where the run can do without.

    Raises:
        InputError: it does not answer, or has not what the scenario needs.
        RunError: a broker of ours does not start.
    """
    if scenario.clock == "virtual":
        yield None
    elif wanted in MANAGED:
        passwords = device_passwords(scenario)
        with launch_broker(wanted, devices=passwords) as running:  # type: ignore[arg-type]  # the literals just named
            _check_capable(scenario, running.endpoint, warned)
            yield RunBroker(running.endpoint, running, passwords)
    else:
        endpoint = parse_url(wanted)
        check_reachable(endpoint, REACH_TIMEOUT_S)
        yield RunBroker(endpoint, None)


@dataclass(frozen=True)
class RunBroker:
    """The broker of a run."""

    endpoint: Endpoint
    ours: RunningBroker | None
    """It, if this process started it."""
    passwords: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Of devices with users of their own."""

    def restarts(self) -> int:
        """How often it was started again."""
        return self.ours.restarts if self.ours else 0

    def revive(self) -> None:
        """Start a broker of ours again if it has died.

        Raises:
            RunError: it does not start.
        """
        if self.ours and self.ours.exit_report():
            self.ours.restart()

    def check(self) -> None:
        """Raise RunError if a broker of ours has died."""
        died = self.ours.exit_report() if self.ours else None
        if died:
            raise RunError(died)


def _check_capable(scenario: Scenario, endpoint: Endpoint, warned: Callable[[str], None]) -> None:
    """Refuse what the broker grants and does not do; warn where only somebody who listens could tell."""
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
    # No figure of a run hangs on these: no device listens to wills, and each reports again when it is back.
    lacking = [
        what
        for what, there in (
            ("last wills of devices that fall silent", can.wills_on_keepalive_expiry),
            ("last wills of devices whose client id is taken over", can.wills_on_takeover),
            ("sessions that outlast a connection", can.offline_queues or not settings.persistent),
        )
        if not there
    ]
    if lacking:
        warned(f"broker {endpoint.kind} has no {', no '.join(lacking)}: do not test here who relies on them")
