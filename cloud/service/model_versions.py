"""The model versions that a cloud serves side by side: one to everybody, others to who asks for them."""

from collections.abc import Sequence

from cloud.service.responder import Responder
from wire.errors import Reason, RemoteProtocolError
from wire.messages import BudgetReport, decode
from wire.topics import LayerName


class ModelVersions:
    """Answers each report from the model version that the device wants.

    As stateless as a responder: the report says which version. A version that is not served, because it was
    withdrawn, is answered with the first.

    Args:
        responders: one per version; the first serves whoever asks for none.
    """

    def __init__(self, responders: Sequence[Responder]) -> None:
        self.first = responders[0]
        self._responders = {each.store.version: each for each in responders}

    @property
    def names(self) -> tuple[str, ...]:
        """The versions, the first one first."""
        return tuple(self._responders)

    def answer(self, payload: bytes) -> tuple[bytes, ...]:
        """Return the update parts that answer the budget report in *payload*, in order.

        Raises:
            RemoteProtocolError: the report is malformed, or names what does not exist.
        """
        return self.respond(decode(payload, BudgetReport))

    def respond(self, report: BudgetReport) -> tuple[bytes, ...]:
        """Return the update parts that answer *report*, in order.

        Raises:
            RemoteProtocolError: it names what does not exist.
        """
        wanted = report.wants
        if not wanted:  # unset is false, too
            return self.first.respond(report)
        return self._responders.get(str(wanted), self.first).respond(report)

    @property
    def all(self) -> tuple[Responder, ...]:
        """A responder for each version."""
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
        """Return what report *seq* would have cost with the whole PEE of *model* sent anew."""
        return self._responders[model].full_bytes(user, budget_bytes, seq)
