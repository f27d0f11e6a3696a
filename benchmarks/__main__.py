"""``make bench``: run every benchmark, print its figures, and fail where a promise is broken."""

import sys

from benchmarks import engine, service


def main() -> int:
    """Run all benchmarks; return how many promises were broken."""
    broken = engine.main() + service.main()
    for promise in broken:
        print(f"BROKEN: {promise}")
    return len(broken)


if __name__ == "__main__":
    sys.exit(main())
