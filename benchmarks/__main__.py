"""``make bench``: run every benchmark, print its figures, and fail where a promise is broken."""

import sys

from benchmarks import engine, service
from benchmarks.figures import verdict


def main() -> int:
    """Run all benchmarks; return the exit status."""
    return verdict(engine.main() + service.main())


if __name__ == "__main__":
    sys.exit(main())
