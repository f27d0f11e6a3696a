"""Models made for one device: eight blocks, of which its budget holds about five. Pure."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from cloud.blocks.encoding import encode_cells
from cloud.blocks.store import GroupBlocks
from wire.codecs import Codec
from wire.errors import InputError
from wire.geometry import Geometry
from wire.messages import BudgetReport, ModelNotice
from wire.update_part import MAX_HEADER_BYTES, build_body, encode_part, put_together, take_apart

BLOCKS: Final = 8
FITTING: Final = 5
"""Blocks that fit into the device's budget, usually."""
ITEM_GROUPS: Final = 4
USER_GROUPS: Final = 8
USERS: Final = 2**31
"""Users of the notices: a device may be any of them."""
LEAST_BUDGET_BYTES, MOST_BUDGET_BYTES = 100, 512 * 1024
HEADER_BYTES: Final = 1024
ROOM_TO_SIGN: Final = 144
"""Bytes of a header that a signature takes."""


class TrialModel:
    """A model version that one device is tested with, one block in each layer.

    Args:
        version: its name.
        budget_bytes: the device's budget.
        fitting: how many of its blocks fit into that.

    Raises:
        InputError: the budget is too small or too large for such a model.
    """

    def __init__(self, version: str, budget_bytes: int, fitting: int = FITTING) -> None:
        if not LEAST_BUDGET_BYTES <= budget_bytes <= MOST_BUDGET_BYTES:
            raise InputError(
                f"the device's budget(={budget_bytes} B) must be from {LEAST_BUDGET_BYTES} B to "
                f"{MOST_BUDGET_BYTES // 1024} KiB while it is tested"
            )
        items = int((budget_bytes / (fitting + 0.5) - 2) // ITEM_GROUPS * ITEM_GROUPS)
        geometry = Geometry(items=items, dim=2, item_groups=ITEM_GROUPS, slice_width=1, codec=Codec.FP32)
        draw = np.random.default_rng(17)
        groups = [
            encode_cells(
                geometry,
                draw.normal(size=(items, 2)).astype(np.float32),
                draw.uniform(1.0, 2.0, (ITEM_GROUPS, 2)),
                layers=BLOCKS,
            )
            for _ in range(USER_GROUPS)
        ]
        self._set_blocks(version, geometry, groups)

    def _set_blocks(self, version: str, geometry: Geometry, groups: list[GroupBlocks]) -> None:
        self.version = version
        self.geometry = geometry
        self._groups = groups
        self.layers = groups[0].layers
        """The layer table, the same for all groups: their blocks are of equal size."""

    def notice(self) -> ModelNotice:
        """Return the notice that announces it."""
        return ModelNotice(
            version=self.version,
            geometry=self.geometry,
            user_groups=USER_GROUPS,
            users=USERS,
            layers=self.layers.top,
        )

    def group(self, report: BudgetReport) -> GroupBlocks:
        """Return the blocks of the device's user group."""
        return self._groups[report_group(report)]

    def held_bytes(self, held: int) -> int:
        """Return the bytes that a device stores for its first blocks."""
        return self._groups[0].starts[held] + held * self.geometry.codec.overhead

    def target(self, report: BudgetReport) -> int:
        """Return the number of blocks that fit into the budget of *report*."""
        return self.layers.blocks[self.layers.best(report.budget_bytes)]

    def answer(self, report: BudgetReport, target: int | None = None) -> list[bytes]:
        """Return the parts of the right answer to *report*, one block in each; *target*: for that many."""
        target = self.target(report) if target is None else target
        first = min(report.held, target) if report.model == self.version else 0
        introduces = report.model != self.version
        parts = max(1, introduces + target - first)
        answer = [self.introduction(report, target, parts)] if introduces else []
        for place in range(first, target):
            answer.append(self.part(report, place, target=target, part=len(answer) + 1, parts=parts))
        return answer or [self.part(report, target, ids=(), target=target)]

    def introduction(
        self, report: BudgetReport, target: int, parts: int, *, model: str | None = None
    ) -> bytes:
        """Return the first part of an answer to a device that does not hold this version."""
        tensors = {
            "layer_blocks": np.array(self.layers.blocks[1:], dtype="<u4").tobytes(),
            "layer_bytes": np.array(self.layers.bytes[1:], dtype="<u4").tobytes(),
        }
        if report.user is not None:
            tensors["user_vector"] = np.array([1.0, 0.5], dtype="<f4").tobytes()
        body = build_body(
            model=self.version if model is None else model,
            group=report_group(report),
            first=0,
            target=target,
            part=1,
            parts=parts,
            tensors=tensors,
        )
        return encode_part(body, report.seq)

    def part(
        self,
        report: BudgetReport,
        first: int,
        *,
        target: int,
        part: int = 1,
        parts: int = 1,
        ids: Sequence[int] | None = None,
        group: int | None = None,
        model: str | None = None,
        flipped: bool = False,
        shorter_bytes: int = 0,
    ) -> bytes:
        """Return a part with blocks, right or wrong, that has a valid checksum.

        Args:
            report: the report that it answers.
            first: place of its first block.
            target: blocks of the whole PEE.
            part: its number.
            parts: parts of the answer.
            ids: ids of its blocks; None: that of the block at *first*.
            group: the user group that it says; None: the device's.
            model: the version that it says; None: this one.
            flipped: whether the bits of its first number are turned round.
            shorter_bytes: bytes that its data lack.
        """
        blocks = self.group(report)
        at = min(first, blocks.count - 1)
        content = blocks.blocks.part(at, at + 1, blocks.starts, self.geometry.codec)
        ids = blocks.ranking()[at : at + 1] if ids is None else ids
        data = content.data * len(ids)
        data = data[: len(data) - shorter_bytes]
        if flipped:
            data = bytes([data[0] ^ 0x40]) + data[1:]
        body = build_body(
            model=self.version if model is None else model,
            group=report_group(report) if group is None else group,
            first=first,
            target=target,
            part=part,
            parts=parts,
            tensors={
                "ids": np.array(ids, dtype="<u2").tobytes(),
                "sizes": content.sizes if ids else b"",
                "data": data,
            },
        )
        return encode_part(body, report.seq)

    def large_part(self, report: BudgetReport, first: int) -> bytes:
        """Return the rest of the right answer, from place *first*, as one part, filled up to be large."""
        target = self.target(report)
        blocks = self.group(report)
        content = blocks.blocks.part(first, target, blocks.starts, self.geometry.codec)
        body = build_body(
            model=self.version,
            group=report_group(report),
            first=first,
            target=target,
            part=1,
            parts=1,
            tensors=content._asdict(),
        )
        pieces = take_apart(encode_part(body, report.seq))
        missing = MAX_HEADER_BYTES - ROOM_TO_SIGN - len(pieces.numbered) - len(pieces.rest)
        return put_together(pieces, pieces.rest + b" " * missing)

    def ids(self, report: BudgetReport) -> list[int]:
        """Return the ids of the device's ranking."""
        return self.group(report).ranking()

    def check_fits(self, report: BudgetReport) -> None:
        """Raise InputError if the device is one that cannot be tested with this model."""
        group, block_bytes = report_group(report), self.layers.bytes[1]
        if group >= USER_GROUPS:
            raise InputError(f"the device's group(={group}) must be below {USER_GROUPS} while it is tested")
        if isinstance(report.max_part, int) and report.max_part < block_bytes + HEADER_BYTES:
            raise InputError(
                f"the device's budget(={report.budget_bytes} B) must be at most "
                f"{5 * (report.max_part - HEADER_BYTES)} B while it is tested, for its max_part"
            )
        if report.shared is True:
            raise InputError("the device asks for shared delivery, which is not tested: switch it off")


def report_group(report: BudgetReport) -> int:
    """Return the user group of a report: every user is in group 0."""
    return 0 if report.user is not None else report.group or 0
