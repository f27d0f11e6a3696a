"""What each device of a fleet belongs to, and what is done to it: columns of ``devices.parquet``."""

from collections.abc import Sequence

import pyarrow as pa

from cloud.blocks.store import BlockStore
from devices.simulated.roster import Enrolled
from devices.timeline.timeline import Program, network_changes


def build_device_table(devices: Sequence[Enrolled], store: BlockStore, program: Program) -> pa.Table:
    """Return one row per device: its group, labels, node, network and user group, and how they change.

    ``network_ns`` and ``networks`` say when it moves to which network; ``new_user_ns`` and
    ``new_user_groups`` when it gets a user of which group of the version that is served to everybody (the
    quality table has the group of the version held); ``faults`` and ``actions`` which of those in the
    scenario, by their place, concern its links or are done to it.
    """
    members = [each.member for each in devices]
    deeds = [program.deeds(member) if program.actions else () for member in members]
    moves = [network_changes(each, member.network) for each, member in zip(deeds, members, strict=True)]
    touched = [
        sorted(
            {window.number for end in ("uplink", "downlink") for window in program.link_windows(member, end)}
        )
        for member in members
    ]
    group_of = [int(each) for each in store.user_groups]
    lists = pa.list_(pa.int64())
    return pa.table(
        {
            "device": [each.name for each in devices],
            "group": [each.group.name for each in devices],
            "labels": pa.array([list(each.group.labels.items()) for each in devices], _LABELS),
            "node": [each.group.node for each in devices],
            "network": [each.group.network for each in devices],
            "network_ns": pa.array([[t_ns for t_ns, _ in each] for each in moves], lists),
            "networks": pa.array([[to for _, to in each] for each in moves], pa.list_(pa.string())),
            "user": [each.user for each in devices],
            "user_group": [group_of[each.user] for each in devices],
            "new_user_ns": pa.array([[t_ns for t_ns, _ in each.new_users] for each in devices], lists),
            "new_user_groups": pa.array(
                [[group_of[user] for _, user in each.new_users] for each in devices], lists
            ),
            "start_ns": [each.start_ns for each in devices],
            "faults": pa.array(touched, lists),
            "actions": pa.array([[deed.place for deed in each] for each in deeds], lists),
        }
    )


_LABELS = pa.map_(pa.string(), pa.string())
