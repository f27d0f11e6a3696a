"""Each value of an exchange stands in its own column."""

from types import SimpleNamespace
from typing import Any, cast

from devices.event_log import COLUMNS, ExchangeResult, FleetLog, UpdateKind
from devices.protocol.agent import Receipt
from devices.protocol.report_scheduler import ReportCause
from devices.simulated.exchange import SentReport
from devices.simulated.exchange_log import ExchangeRecord, log_exchange
from wire.update_part import Layout


def test_an_exchange_is_logged_by_column() -> None:
    report = SentReport(
        7,
        "d",
        3,
        11,
        b"r" * 12,
        ReportCause.RETRY,
        sent_ns=14,
        changed_ns=13,
        requested_bytes=28,
        held_before=29,
    )
    layout = Layout(
        model="m", group=0, first=29, target=30, part=1, parts=1, blocks=1, introduces=False, spans={}
    )
    record = ExchangeRecord(
        report, 15, 1, 18, [b"p"], handler=cast("Any", None), service_start_ns=16, answer_sent_ns=17,
        received_ns=19, applied_ns=20, layout=layout, receipt=Receipt.APPLIED, sent_bytes=21, copied_bytes=22,
        lost_bytes=23, used_bytes=24, wire_bytes=25, report_wire_bytes=26, resent_wire_bytes=27,
        ack_wire_bytes=31,
    )  # fmt: skip
    log = FleetLog()
    context = SimpleNamespace(log=log, full_bytes=lambda *given: 32 if given == ("m", 3, 28, 11) else 0)
    assert log_exchange(record, cast("Any", context), (1, 2.0, 7, 4), 30) is ExchangeResult.APPLIED
    (row,) = log.tables["update"].drain()
    assert dict(zip(COLUMNS["update"], row.tolist(), strict=True)) == {
        "t_ns": 1, "wall_s": 2.0, "device": 7, "order": 4, "seq": 11, "cause": ReportCause.RETRY,
        "result": ExchangeResult.APPLIED, "sent": UpdateKind.DELTA, "changed_ns": 13, "sent_ns": 14,
        "arrived_ns": 15, "begun_ns": 16, "left_ns": 17, "answered_ns": 18, "received_ns": 19,
        "applied_ns": 20,
        "report_bytes": 12, "report_wire_bytes": 26, "ack_wire_bytes": 31, "resent_wire_bytes": 27,
        "parts": 1,
        "update_bytes": 21, "copied_bytes": 22, "update_wire_bytes": 25, "used_bytes": 24, "lost_bytes": 23,
        "full_update_bytes": 32, "wanted_bytes": 28, "held_before": 29, "held": 30,
    }  # fmt: skip
