"""Model versions that a cloud serves side by side: one by default, the others on request."""

from collections.abc import Sequence

from cloud.service.responder import Responder
from wire.errors import Reason, RemoteProtocolError
from wire.messages import BudgetReport, ModelNotice, decode
from wire.topics import LayerName
from wire.update_part import SealedPart


class ModelVersions:
    """Answers each report from the model version that the report names.

    It is stateless, like a responder. A device that holds one of the versions may get a delta to another.
    A report that names no version, or one that is not served any more, is
    answered from the first.

    Args:
        responders: one per version; the first is the default.
    """

    def __init__(self, responders: Sequence[Responder]) -> None:
        self.first = responders[0]
        """The version that is announced, and answers reports that name none."""
        self._responders: dict[str, Responder] = {}
        for responder in responders:
            self.add(responder)

    def add(self, responder: Responder) -> None:
        """Serve one more version."""
        for other in self._responders.values():
            other.serve_beside([responder.store])
            responder.serve_beside([other.store])
        self._responders[responder.store.version] = responder

    def remove(self, version: str) -> bool:
        """Serve *version* no more, unless it is the announced one; return whether that is so."""
        if version == self.first.store.version or version not in self._responders:
            return False
        del self._responders[version]
        return True

    def choose_first(self, version: str) -> None:
        """Let *version*, which is served, answer the reports that name none."""
        self.first = self._responders[version]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the versions, the default first."""
        first = self.first.store.version
        return (first, *(name for name in self._responders if name != first))

    def __contains__(self, version: object) -> bool:
        """Tell whether *version* is served."""
        return version in self._responders

    def notice(self, version: str) -> ModelNotice:
        """Return the notice of *version*, which is served."""
        return self._responders[version].notice()

    def answer(self, payload: bytes) -> tuple[bytes, ...]:
        """Return the update parts that answer the budget report in *payload*, in order.

        Raises:
            RemoteProtocolError: the report is malformed, or names a user or a group that does not exist.
        """
        return self.respond(decode(payload, BudgetReport))

    def respond(self, report: BudgetReport) -> tuple[bytes, ...]:
        """Return the update parts that answer *report*, in order.

        Raises:
            RemoteProtocolError: the report names a user or a group that does not exist.
        """
        return self._of(report).respond(report)

    def seal(self, report: BudgetReport) -> tuple[SealedPart, ...]:
        """Return the same parts for a device in this process, which need not check them.

        Raises:
            RemoteProtocolError: the report names a user or a group that does not exist.
        """
        return self._of(report).seal(report)

    def _of(self, report: BudgetReport) -> Responder:
        """Return the responder of the version that *report* names."""
        version = report.wants
        if not version:  # an unset field is false, too
            return self.first
        return self._responders.get(str(version), self.first)

    @property
    def all(self) -> tuple[Responder, ...]:
        """The responders, one for each version."""
        return tuple(self._responders.values())

    def layer_part(self, name: LayerName) -> bytes:
        """Return the retained update part of a layer.

        Raises:
            RemoteProtocolError: there is no such layer.
        """
        responder = self._responders.get(name.model)
        if responder is None:
            raise RemoteProtocolError(Reason.UNKNOWN_MODEL, f"model {name.model!r}")
        return responder.layer_part(name.group, name.layer)

    def full_bytes(self, model: str, user: int, budget_bytes: int, seq: int) -> int:
        """Return the bytes of an answer to report *seq* that sends the complete PEE of *model*."""
        return self._responders[model].full_bytes(user, budget_bytes, seq)

    def first_bytes(self, model: str, user: int, budget_bytes: int, seq: int) -> int:
        """Return the bytes of an answer to a device that holds nothing (`Responder.first_bytes`)."""
        return self._responders[model].first_bytes(user, budget_bytes, seq)
