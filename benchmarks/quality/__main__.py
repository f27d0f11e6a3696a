"""``python -m benchmarks.quality``: PEEL against its rivals at equal bytes, members and newcomers."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.figures import OUT
from benchmarks.quality.claims import compare_claims
from benchmarks.quality.run import Catalogue, Plan, run
from benchmarks.quality.sources import DEFAULT_DATA, default_folder, open_sources, with_threads
from cloud.training.threads import limit_threads
from wire.errors import InputError, RunError

DEFAULT_SEEDS = {"quick": 1, "ablation": 3, "all": 5, "strongest": 5}
CLAIMS_SEEDS = 3

CATALOGUE_HELP = {
    "quick": "one seed and three budgets",
    "all": "every baseline, slow ones and hopeless ones, too; members only",
    "ablation": "both recipes with each stage switched off in turn; members only",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare, print and write; return the exit status."""
    asked = _parser().parse_args(arguments)
    try:
        if asked.claims:
            folders = asked.data or [default_folder(name) for name in DEFAULT_DATA]
            with limit_threads(asked.threads):
                compare_claims(folders, asked.seeds or CLAIMS_SEEDS, asked.out)
            return 0
        opened = open_sources(asked.data, asked.scenario, cut=asked.cut)
        sources = [with_threads(source, asked.threads) for source in opened]
        catalogue: Catalogue = asked.catalogue
        seeds = asked.seeds or DEFAULT_SEEDS[catalogue]
        run(sources, Plan(seeds, asked.threads, asked.out, catalogue, tuple(asked.methods or ()), asked.jobs))
    except (InputError, RunError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality", description=__doc__)
    parser.add_argument(
        "--data", type=Path, nargs="+", help="folders with data sets; the default is ML-1M and ML-100K"
    )
    parser.add_argument(
        "--cut",
        action="store_true",
        help="each folder with one cut in time, too; ML-100K has it by default",
    )
    parser.add_argument("--scenario", type=Path, help="take data and training from this scenario")
    which = parser.add_mutually_exclusive_group()
    parser.set_defaults(catalogue="strongest")
    for name, words in CATALOGUE_HELP.items():
        which.add_argument(f"--{name}", dest="catalogue", action="store_const", const=name, help=words)
    which.add_argument("--claims", action="store_true", help="the claims of the paper with recipe paper")
    parser.add_argument(
        "--seeds", type=int, help="how many; the default is 5, quick 1, ablation and claims 3"
    )
    parser.add_argument("--jobs", type=int, default=1, help="seeds at a time, a process each")
    parser.add_argument("--threads", type=int, default=1, help="threads of arithmetic")
    parser.add_argument("--out", type=Path, default=OUT, help="folder for what is written")
    parser.add_argument("--methods", nargs="*", help="only methods whose names start so, and the full table")
    return parser


if __name__ == "__main__":
    sys.exit(main())
