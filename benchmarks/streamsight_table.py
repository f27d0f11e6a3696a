"""The table of a second tool, Streamsight 3.1.7, for `tests/cloud/data/test_streamsight.py`.

It respects a global timeline. It needs Python 3.13 and many packages, so no test imports it: its table is
stored beside the test. It says, for ml-100k cut at one moment and for each day after it, how many users and
interactions there are to rank, which, and how good the most popular items are that a user does not know yet
(counted before the cut, equal ones by the number of the item). To make it again with streamsight installed:

    cd tests/cloud/data
    STREAMSIGHT_ROOT=/tmp python ../../../benchmarks/streamsight_table.py ml-100k.inter streamsight.json
"""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix  # type: ignore[import-untyped]
from streamsight.algorithms.utils import get_top_K_ranks
from streamsight.metrics import NDCGK, HitK, RecallK
from streamsight.preprocessing import DataFramePreprocessor
from streamsight.settings import SingleTimePointSetting, SlidingWindowSetting

WARM_UP, DAY_S, K, ALL = 0.8, 86_400, 10, 10**9


def main(source: Path, target: Path) -> None:
    """Write the table of *source* to *target*."""
    frame = pd.read_csv(source, sep="\t", header=0, names=["user", "item", "rating", "time"])
    frame = frame[["user", "item", "time"]].astype(np.int64)
    cut = int(np.sort(frame["time"].to_numpy())[int(WARM_UP * len(frame))])
    steps = DataFramePreprocessor("item", "user", "time")
    matrix = steps.process(frame)
    users = steps.user_id_mapping.set_index("uid")["user"]
    items = steps.item_id_mapping.set_index("iid")["item"]
    once = SingleTimePointSetting(background_t=cut, n_seq_data=0, top_K=ALL)
    daily = SlidingWindowSetting(background_t=cut, window_size=DAY_S, n_seq_data=0, top_K=ALL)
    for setting in (once, daily):
        setting.split(matrix)
    background = once.background_data.copy_df()
    worth = background["iid"].value_counts().reindex(range(len(items)), fill_value=0).to_numpy(float)
    worth = np.where(worth > 0, worth + 1e-6 * (len(items) - items.to_numpy().argsort().argsort()), 0)
    table: dict[str, Any] = {
        "cut": cut,
        "background": rows_of(background, users, items),
        "after": evaluated(once.ground_truth_data, matrix, cut, worth, users, items),
        "days": [
            {"day": day, **evaluated(part, matrix, cut + day * DAY_S, worth, users, items)}
            for day, part in enumerate(daily.ground_truth_data)
            if len(part)
        ],
    }
    days = ",\n  ".join(json.dumps(day) for day in table.pop("days"))
    body = ",\n ".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in table.items())
    target.write_text(f'{{{body},\n "days": [\n  {days}\n ]}}\n')


def evaluated(part: Any, matrix: Any, start: int, worth: Any, users: Any, items: Any) -> dict[str, Any]:
    """Return the interactions of *part* and the quality of the most popular items."""
    frame = part.copy_df()
    met = matrix.timestamps_lt(start).copy_df()
    numbers = np.unique(frame["uid"])
    shape = (len(numbers), len(items))
    truth = csr_matrix((np.ones(len(frame)), (np.searchsorted(numbers, frame["uid"]), frame["iid"])), shape)
    scores = np.tile(worth, (len(numbers), 1))
    known = met[met["uid"].isin(numbers)]
    scores[np.searchsorted(numbers, known["uid"]), known["iid"]] = 0
    ranks = get_top_K_ranks(csr_matrix(scores), K)
    values = {}
    for name, metric in (("ndcg_at_10", NDCGK), ("recall_at_10", RecallK), ("hit_rate_at_10", HitK)):
        measured = metric(user_id_sequence_array=numbers, user_item_shape=shape, K=K)
        measured.calculate(truth, ranks)
        values[name] = round(float(np.sum(measured.micro_result["score"])), 9)
    return {**rows_of(frame, users, items), **values}


def rows_of(frame: Any, users: Any, items: Any) -> dict[str, Any]:
    """Return the numbers of users and interactions, and the hash of the (user, item, time) rows in order."""
    rows = sorted(
        f"{users[user]} {items[item]} {time}"
        for user, item, time in zip(frame["uid"], frame["iid"], frame["ts"], strict=True)
    )
    digest = hashlib.sha256("\n".join(rows).encode()).hexdigest()[:16]
    return {"users": int(frame["uid"].nunique()), "interactions": len(rows), "rows_sha256": digest}


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
