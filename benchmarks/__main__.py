"""``make bench``: run the benchmarks of speed, print their figures, and fail if a limit is exceeded."""

import sys

from benchmarks import engine, service
from benchmarks.figures import verdict


def main() -> int:
    """Run all benchmarks; return the exit status."""
    return verdict(engine.main() + service.main())


if __name__ == "__main__":
    sys.exit(main())
