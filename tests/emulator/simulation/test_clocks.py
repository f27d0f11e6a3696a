"""Messages in memory: all are made, and those of some devices are taken apart."""

import pytest

from cloud.service.model_versions import ModelVersions
from cloud.service.responder import Responder
from devices.protocol.report_scheduler import ReportCause
from devices.simulated.exchange import Exchange, SentReport
from emulator.simulation.clocks import InMemoryTransport
from tests.worlds import a_store
from wire.errors import RemoteProtocolError
from wire.messages import BudgetReport, encode
from wire.update_part import SealedPart

VERSIONS = ModelVersions([Responder(a_store(items=60))])


def answer(transport: InMemoryTransport, number: int, payload: bytes, message: BudgetReport) -> list[bytes]:
    report = SentReport(
        number, "d", 0, 1, payload, ReportCause.START, 0, 0, message.budget_bytes, 0, message=message
    )
    exchange = Exchange(report)
    transport.send_report(exchange)
    assert exchange.parts is not None
    return list(exchange.parts)


def test_messages_of_one_device_in_so_many_are_decoded() -> None:
    transport, message = (
        InMemoryTransport(VERSIONS, decode_every=4),
        BudgetReport(seq=1, budget_bytes=900, user=0),
    )
    answers = [answer(transport, number, encode(message), message) for number in range(8)]
    assert answers == [answers[0]] * 8
    sealed = [all(isinstance(part, SealedPart) for part in parts) for parts in answers]
    assert sealed == [False, True, True, True, False, True, True, True]


def test_a_decoded_report_that_is_damaged_is_refused() -> None:
    """The bytes of one device in 256 are read: an encoder that is wrong cannot stay unseen."""
    message = BudgetReport(seq=1, budget_bytes=900, user=0)
    for number in (0, 256):
        with pytest.raises(RemoteProtocolError):
            answer(InMemoryTransport(VERSIONS), number, b"\xff" + encode(message)[1:], message)
