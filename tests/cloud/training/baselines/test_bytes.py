import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud.training.baselines.block_grid import cut_blocks
from cloud.training.baselines.block_selection import EvolvedBlocks, RandomBlocks
from cloud.training.baselines.coded_head import (
    CONTEXTS,
    CodedHeadItems,
    coded_bits,
    coded_bytes,
    dequantize,
    most_items,
    quantize,
)
from cloud.training.baselines.columns import FirstColumns
from cloud.training.baselines.head import HeadItems
from cloud.training.baselines.method import CompressionMethod
from cloud.training.baselines.precision import Precision, longest, read_back, table_bytes, widest
from cloud.training.baselines.product_quantization import ProductQuantization, product_bytes
from cloud.training.baselines.pruning import PrunedTable, index_bytes, most_kept, pruned_bytes
from cloud.training.baselines.score_list import ScoreList
from cloud.training.baselines.whole import WholeTable
from tests.benchmarks.worlds import a_full, a_world

WORLD = a_world()
FULL = a_full(WORLD)
CHEAP: tuple[CompressionMethod, ...] = (
    WholeTable("uniform:int8", Precision.INT8),
    *(HeadItems(f"head:{each}", each) for each in Precision),
    CodedHeadItems(),
    FirstColumns("svd", rotate=True),
    FirstColumns("first-k", rotate=False),
    PrunedTable(),
    RandomBlocks(),
    EvolvedBlocks(population=3, generations=2, users=10),
    ProductQuantization(parts=(1, 2)),
    ScoreList(),
)


@pytest.mark.parametrize(
    ("precision", "rows", "columns", "size"),
    [
        (Precision.FP32, 10, 3, 120),
        (Precision.INT8, 10, 3, 30 + 12),
        (Precision.INT4, 10, 3, 15 + 12),
        (Precision.INT4, 3, 3, 5 + 12),
    ],
)
def test_a_table_takes_its_numbers_and_a_scale_per_column(
    precision: Precision, rows: int, columns: int, size: int
) -> None:
    assert table_bytes(precision, rows, columns) == size


@given(
    precision=st.sampled_from(Precision),
    rows=st.integers(1, 300),
    columns=st.integers(1, 80),
    budget=st.integers(0, 50_000),
)
def test_widest_and_longest_fit_and_one_more_does_not(
    precision: Precision, rows: int, columns: int, budget: int
) -> None:
    width, length = widest(precision, rows, columns, budget), longest(precision, rows, columns, budget)
    assert width == 0 or table_bytes(precision, rows, width) <= budget
    assert width == columns or table_bytes(precision, rows, width + 1) > budget
    assert length == 0 or table_bytes(precision, length, columns) <= budget
    assert length == rows or table_bytes(precision, length + 1, columns) > budget


def test_int8_is_within_half_a_scale_and_int4_has_15_levels() -> None:
    table = FULL.items
    scales = np.abs(table).max(axis=0) / 127
    assert (np.abs(read_back(table, Precision.INT8) - table) <= scales * 0.501).all()
    coarse = read_back(table, Precision.INT4)
    assert all(len(np.unique(column)) <= 15 for column in coarse.T)
    assert np.square(coarse - table).mean() < 0.02


def test_the_index_of_a_pruned_table_is_a_bitmap_or_coordinates() -> None:
    assert index_bytes(100, 64, 10) == 110  # a byte per item and per number
    assert index_bytes(100, 64, 6000) == 800  # a bit per place
    assert index_bytes(100, 300, 10) == 220  # 300 columns need two bytes
    assert pruned_bytes(Precision.FP32, 100, 64, 10) == 40 + 110
    assert pruned_bytes(Precision.INT8, 100, 64, 10) == 10 + 4 + 110


@given(precision=st.sampled_from([Precision.FP32, Precision.INT8]), budget=st.integers(0, 30_000))
def test_pruning_keeps_as_many_as_fit(precision: Precision, budget: int) -> None:
    count = most_kept(precision, 100, 64, budget)
    assert count == 0 or pruned_bytes(precision, 100, 64, count) <= budget
    assert count == 6400 or pruned_bytes(precision, 100, 64, count + 1) > budget


def test_product_quantization_counts_codes_and_codebooks() -> None:
    assert product_bytes(1000, 64, 4, 4) == 2000 + 16 * 64 * 2
    assert product_bytes(1000, 64, 4, 8) == 4000 + 256 * 64 * 2
    assert product_bytes(10, 64, 1, 8) == 10 + 10 * 64 * 2  # no more typical parts than items


def test_a_block_takes_a_byte_per_number_an_id_and_a_scale() -> None:
    grid = cut_blocks(FULL.users, FULL.items, 4, 3)
    assert grid.sizes.tolist() == [[36, 36, 26]] * 4  # ten items, slices of 3, 3 and 2
    weights = np.arange(12.0).reshape(4, 3)
    assert grid.prefix(weights, 4 * 26).sum(axis=1).tolist() == [1, 1, 1, 1]  # the floor
    assert grid.prefix(weights, 4 * 26 - 1).any(axis=1).tolist() == [False, True, True, True]


def test_coding_nothing_takes_the_header_and_zeros_take_little() -> None:
    assert coded_bytes(np.zeros((0, 3), dtype=np.int64)) == 6
    assert coded_bytes(np.zeros((1000, 1), dtype=np.int64)) <= 6 + 1
    fair = np.array([0, 1] * 500, dtype=np.int64)[:, None]
    # 1000 fair decisions, 500 signs, 500 times "no more than 1", and the price of learning that
    assert 1500 <= 8 * (coded_bytes(fair) - 6) <= 1500 + 24


@given(step=st.floats(0.05, 3.0), budget=st.integers(6, 400))
def test_coded_prefixes_grow(step: float, budget: int) -> None:
    levels = quantize(FULL.items, step)
    sizes = [coded_bytes(levels[:count]) for count in range(len(levels) + 1)]
    assert sizes == sorted(sizes)
    count = most_items(levels, budget)
    assert sizes[count] <= budget
    assert count == len(levels) or sizes[count + 1] > budget


def test_reconstruction_errs_by_less_than_a_step() -> None:
    levels = quantize(FULL.items, 0.25)
    assert np.abs(dequantize(levels, 0.25) - FULL.items).max() <= 0.25


@pytest.mark.parametrize("method", CHEAP, ids=lambda method: method.name)
def test_no_method_exceeds_its_budget(method: CompressionMethod) -> None:
    fitted = method.fit(FULL, WORLD)

    @settings(max_examples=8, deadline=None)
    @given(budget=st.integers(0, FULL.bytes))
    def check(budget: int) -> None:
        candidate = fitted.at(budget)
        if candidate is not None:
            assert 0 <= candidate.bytes <= budget
            assert candidate.scores(np.arange(3)).shape == (3, WORLD.n_items)

    check()


@settings(deadline=None)
@given(rows=st.lists(st.tuples(st.integers(0, 16), st.integers(0, 3)), max_size=30))
def test_the_code_length_is_that_of_a_coder_that_learns_as_it_goes(rows: list[tuple[int, int]]) -> None:
    seen: dict[tuple[int, int], list[int]] = {}
    bits = 0.0
    for row in rows:
        for column, magnitude in enumerate(row):
            for bound in range(min(magnitude + 1, CONTEXTS)):
                counts = seen.setdefault((column, bound), [0, 0])
                answer = int(magnitude > bound)
                bits -= np.log2((counts[answer] + 0.5) / (sum(counts) + 1))
                counts[answer] += 1
            bits += magnitude > 0
            if magnitude >= CONTEXTS:
                bits += 2 * int(magnitude - CONTEXTS + 1).bit_length() - 1
    assert coded_bits(np.array(rows, dtype=np.int64).reshape(-1, 2)) == pytest.approx(bits)
