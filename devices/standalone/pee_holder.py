"""The decisions of a real device, without its connection, clock and disk: it drives the protocol logic.

The emulated device (`devices.simulated.device`) drives the same agent and the same scheduler.
"""

from collections.abc import Callable

from devices.protocol.agent import Agent, Receipt
from devices.protocol.block_prefix import BlockCache
from devices.protocol.report_policy import ReportPolicy
from devices.protocol.report_scheduler import NEVER, ReportCause, ReportScheduler
from devices.standalone.settings import DeviceSettings
from wire.errors import RemoteProtocolError
from wire.messages import CloudStatus, ErrorAnswer, ModelNotice, RolloutNotice, knows_capabilities
from wire.rollout import is_older, offered_version
from wire.units import NS_PER_S
from wire.update_part import peek

MODEL_SETTLE_S = 0.1
"""Time from a model notice to the report that asks for the version: a session that was away receives every
notice that it has missed, one by one."""
MOST_CLOUDS = 64
"""Services of the cloud whose statuses are remembered."""
GROWTH_WORTH_ASKING = 0.05
"""Growth is requested only if the budget is this share above the one that was reported last."""


class PeeHolder:
    """A device's PEE inside its budget, and the reports that keep it up to date.

    Args:
        settings: user and group, and the time to wait for an answer.
        cache: the blocks.
        agent: the protocol logic, with what an earlier process has kept.
        notice: the model that an earlier process knew.
        draw: returns a number from 0 to 1, for the wait after rejected answers.
    """

    def __init__(
        self,
        settings: DeviceSettings,
        cache: BlockCache,
        agent: Agent,
        notice: ModelNotice | None,
        draw: Callable[[], float],
    ) -> None:
        self.agent = agent
        self.notice = notice
        """The model that the cloud announced last; None before any."""
        self._settings = settings
        self._cache = cache
        self._clouds: dict[str, CloudStatus] = {}
        self._scheduler = ReportScheduler(
            agent,
            ReportPolicy(hysteresis=GROWTH_WORTH_ASKING),
            draw,
            retry_ns=int(settings.retry_s * NS_PER_S),
            silence_jitter=settings.retry_jitter,
            model_settle_ns=int(MODEL_SETTLE_S * NS_PER_S),
            model_known=notice is not None,
        )
        self.rollout: RolloutNotice | None = None
        """The rollout that the cloud announced last; None before any."""
        if notice is not None:
            self._scheduler.model = notice.version
            agent.offered = agent.model  # what is held stays until this device knows what it is to have

    @property
    def next_deadline_ns(self) -> int:
        """The next time at which a report may be due; `NEVER` if only an event can make one due."""
        return self._scheduler.next_deadline_ns if self.notice is not None else NEVER

    @property
    def wanted(self) -> str:
        """The model version that this device is to have; empty while none is announced."""
        return "" if self.notice is None else self._scheduler.model

    @property
    def is_settled(self) -> bool:
        """True if the last report has its complete answer."""
        return self.agent.reported and not self._scheduler.awaits_answer

    @property
    def held_notice(self) -> ModelNotice | None:
        """The notice of the model version that is held, else the last one."""
        return self._cache.notice(self.agent.model) or self.notice

    def set_budget(self, budget_bytes: int, now_ns: int) -> None:
        """Take a new budget; blocks beyond it are gone when this returns."""
        agent = self.agent
        is_known = self._scheduler.changed_ns >= 0
        if not is_known or budget_bytes != agent.budget_bytes or agent.resident_bytes > budget_bytes:
            self._scheduler.on_budget(budget_bytes, now_ns)

    def on_connected(self, now_ns: int) -> None:
        """Use a new connection."""
        self._scheduler.on_connected(now_ns)

    def on_disconnected(self) -> None:
        """Wait for the next connection."""
        self._scheduler.on_disconnected()

    def on_notice(self, notice: ModelNotice, now_ns: int) -> bool:
        """Receive a model notice; return whether it brings news."""
        self._cache.announce(notice)
        is_new = notice != self.notice
        self.notice = notice
        if is_new or self.agent.offered:
            self._follow(notice, now_ns)
        return is_new

    def on_rollout(self, rollout: RolloutNotice, now_ns: int) -> bool:
        """Receive a notice of a rollout; return whether it says more than the last one."""
        if self.rollout is not None and not is_older(self.rollout, rollout):
            return False
        self.rollout = rollout
        if rollout.notice is not None:
            self._cache.announce(rollout.notice)
        if self.notice is not None:
            self._follow(self.notice, now_ns)
        return True

    def _follow(self, notice: ModelNotice, now_ns: int) -> None:
        """Ask for the version that this device is to have.

        It is named in reports as soon as there was a rollout: services of the cloud learn one after the other
        which version is announced.
        """
        wanted = offered_version(self.rollout, self._settings.device, notice.version)
        self.agent.offered = "" if self.rollout is None else wanted
        self._scheduler.model = wanted
        self._scheduler.on_model(now_ns)

    def on_part(self, payload: bytes, now_ns: int, topic: str = "") -> Receipt:
        """Receive an update part that has come on *topic*."""
        receipt = self.agent.receive(payload, topic)
        is_latest = receipt is not Receipt.REJECTED or self._may_answer_last(payload)
        self._scheduler.on_receipt(receipt, now_ns, is_latest=is_latest)
        return receipt

    def on_error(self, error: ErrorAnswer, now_ns: int) -> bool:
        """Receive an error of the cloud; return whether it is about the last report."""
        return self._scheduler.on_error(error, now_ns)

    def on_cloud_status(self, replica: str, status: CloudStatus) -> None:
        """Learn whether a service of the cloud is there, and what it knows."""
        self._clouds[replica] = status
        if len(self._clouds) > MOST_CLOUDS:
            del self._clouds[next(iter(self._clouds))]
        online = self.online_clouds
        self.agent.names_capabilities = bool(online) and all(
            knows_capabilities(each.protocol) for each in online
        )

    @property
    def online_clouds(self) -> list[CloudStatus]:
        """The statuses of the services that say that they answer reports."""
        return [status for status in self._clouds.values() if status.online]

    @property
    def has_lost_cloud(self) -> bool:
        """True if services of the cloud have said that they were there, and none is now."""
        return bool(self._clouds) and not self.online_clouds

    def _may_answer_last(self, payload: bytes) -> bool:
        """Tell whether a rejected part may belong to the answer to the last report."""
        try:
            return peek(payload)[0] == self.agent.seq
        except RemoteProtocolError:
            return True

    def next_report(self, now_ns: int) -> tuple[ReportCause, bytes] | None:
        """Return the report that is due and its cause, None if none is; it must be sent."""
        if now_ns < self.next_deadline_ns:
            return None
        cause = self._scheduler.poll(now_ns)
        return None if cause is None else (cause, self.agent.report())

    def unknown_to_model(self) -> str:
        """Say that the model does not have our user or group; nothing if it has."""
        notice, settings = self.notice, self._settings
        if notice is None:
            return ""
        if settings.user is not None and settings.user >= notice.users:
            return f"user(={settings.user}) must be below {notice.users}, the users of model {notice.version}"
        if settings.user is None and (settings.group or 0) >= notice.user_groups:
            groups = f"{notice.user_groups}, the user groups of model {notice.version}"
            return f"group(={settings.group}) must be below {groups}"
        return ""
