"""Run `python -m emulator.cli` as the command `peelfleet`."""

from emulator.cli.main import main

main()
