"""`python -m usernat`."""

from usernat.cli import main

main()
