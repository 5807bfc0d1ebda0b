"""The command line: `usernat demo`, `usernat run`, `usernat serve`."""

from usernat.cli.app import main

__all__ = ["main"]
