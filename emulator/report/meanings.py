"""What the keys of ``summary.json`` mean: for the report."""

import re

from scenarios.metrics import METRICS

_OWN = {
    "scenario": ("", "name of the scenario"),
    "seed": ("", "seed of everything random in the run"),
    "clock": ("", "how time passed and messages travelled"),
    "devices": ("devices", "in the fleet"),
    "model_version": ("", "hash of the block store that the cloud served"),
    "simulated_seconds": (
        "s",
        "simulated time from the start to the stop time, or to where a threshold ended it",
    ),
    "wall_seconds": ("s", "time that the simulation took"),
    "device_hours_per_wall_minute": ("device h", "simulated device time per minute of real time"),
    "update_latency_seconds.p50": ("s", "budget change to PEE applied, simulated time: half were faster"),
    "update_latency_seconds.p95": ("s", "19 of 20 were faster"),
    "update_latency_seconds.p99": ("s", "99 of 100 were faster"),
    "update_latency_seconds.max": ("s", "the slowest"),
    "budget_reports_by_cause": ("reports", "that had this cause and this end"),
    "pressure_transitions_by_level": ("changes", "of the level of pressure: from, to"),
    "stages": ("", "parts of the run"),
    "faults": ("", "see above"),
    "actions": ("", "see above"),
    "rollout": ("", "how each group of a rollout fared, in the order of their turns"),
    "cloud_egress_bytes": ("bytes", "payload that left the cloud: with shared delivery each layer once"),
    "broker_egress_bytes": ("bytes", "payload that left the broker toward devices"),
    "warmup_seconds": ("s", "what was before does not count for thresholds"),
    "aborted_at_seconds": ("s", "when a threshold ended the run early"),
    "event_log_sha256": ("", "hash of the logical event log; the same run has the same"),
    "reports_sent_again": ("reports", "that the transport repeated, where a broker was used"),
    "realtime_speed": ("", "simulated seconds in a second of the wall clock"),
    "shards": ("processes", "that carried the fleet in real time"),
    "realtime_doubts": ("", "why figures are this machine's rather than the scenario's"),
    "schedule_late_turns": ("turns", "later than realtime.max_lag"),
    "round_trip_simulated_seconds": ("s", "the same in simulated time: times the speed"),
    "reports_published": ("reports", "that went to the real broker"),
    "reports_answered": ("reports", "of those whose answer was complete in time"),
    "reports_unanswered": ("reports", "of those without a complete answer within updates.retry_after"),
    "schedule_lag_seconds": ("s", "how late events were, by the wall clock"),
    "connect_seconds": ("s", "from a device's CONNECT until it had subscribed, by the wall clock"),
    "connections_per_second": ("per s", "made for the devices that were there before simulated time began"),
    "round_trip_seconds": ("s", "from a report's PUBLISH to its whole answer, by the wall clock"),
    "round_trips_per_second": ("per s", "reports answered, by the wall clock"),
    "connections_made": ("connections", "to the broker"),
    "connections_broken": ("connections", "that broke by themselves"),
    "connections_failed": ("attempts", "to connect that came to nothing"),
    "answers_stale": ("parts", "of answers that came twice, or that nobody waited for any more"),
    "messages_refused": ("messages", "from the broker that were damaged or unknown"),
    "messages_unsent": ("messages", "that were not sent, or not confirmed, because a connection was gone"),
    "shard_restarts": ("times", "a process of the fleet was started again"),
    "cloud_restarts": ("times", "a cloud service was started again"),
    "broker_restarts": ("times", "the broker was started again"),
    "broker_messages_dropped": ("messages", "that the broker dropped since a queue was full, as $SYS says"),
    "thresholds": ("", "see above"),
}
_STATISTICS = {
    "n": "how many there were",
    "mean": "their mean",
    "max": "the most",
}
_NOUNS = {
    "budget_changes": "changes",
    "budget_reports": "reports",
    "connects": "connections",
    "disconnections": "disconnections",
    "messages_harmed": "messages",
    "delta_fallbacks": "updates",
    "local_evictions": "changes",
}
_KEY = re.compile(r"(?P<metric>\w+?)(?:_by_(?P<dimension>[a-z]+))?(?:\.(?P<rest>.+))?")


def explained(key: str) -> tuple[str, str]:
    """Return the unit and the meaning of a dotted key of the summary; nothing for one that nobody knows."""
    for known in (key, key.partition(".")[0]):
        if known in _OWN:
            return _OWN[known]
    if key.startswith("worst."):
        return "", f"which {key.split('.')[1]} fares worst by {key.rpartition('.')[2]}"
    found = _KEY.fullmatch(key)
    if found is None or found["metric"] not in METRICS:
        return "", ""
    metric = METRICS[found["metric"]]
    unit = "updates" if metric.name.startswith("updates_") else _NOUNS.get(metric.name, str(metric.unit))
    if found["dimension"]:
        return unit, f"of {metric.name}: {found['dimension']} {found['rest']}"
    if found["rest"]:
        said = _STATISTICS.get(found["rest"], f"{found['rest'].removeprefix('p')} of 100 were no larger")
        return ("" if found["rest"] == "n" else unit), f"{metric.meaning}: {said}"
    return unit, metric.meaning
