"""``python -m benchmarks.quality``: PEEL against every baseline at equal bytes, on one data set."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.figures import OUT
from benchmarks.quality.claims import compare_claims
from benchmarks.quality.run import Catalogue, Plan, run
from benchmarks.quality.sources import default_folder, open_source, with_threads
from cloud.training.threads import limit_threads
from wire.errors import InputError, RunError

DEFAULT_SEEDS = {"quick": 1, "ablation": 3, "all": 5}
CLAIMS_SEEDS = 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare, print and write; return the exit status."""
    asked = _parser().parse_args(arguments)
    try:
        if asked.claims:
            folders = [asked.data] if asked.data else [default_folder(), default_folder().parent / "ml-100k"]
            with limit_threads(asked.threads):
                compare_claims(folders, asked.seeds or CLAIMS_SEEDS, asked.out)
            return 0
        source = with_threads(open_source(asked.data, asked.scenario), asked.threads)
        catalogue: Catalogue = "ablation" if asked.ablation else "quick" if asked.quick else "all"
        seeds = asked.seeds or DEFAULT_SEEDS[catalogue]
        prefixes = tuple(asked.methods or ())
        run(source, Plan(seeds, asked.threads, asked.out, catalogue, prefixes, min(asked.jobs, seeds)))
    except (InputError, RunError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality", description=__doc__)
    parser.add_argument("--data", type=Path, help="a folder with a data set; the default is ML-1M")
    parser.add_argument("--scenario", type=Path, help="take data and training from this scenario")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--quick", action="store_true", help="one seed, three budgets, the cheap methods")
    which.add_argument(
        "--ablation", action="store_true", help="both recipes with each stage switched off in turn"
    )
    which.add_argument(
        "--claims", action="store_true", help="the claims of the paper with recipe paper, ML-1M and ML-100K"
    )
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
