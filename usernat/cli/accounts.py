"""What `run` and `serve` keep of the gateway's decisions: a file, and sums for the end."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from usernat.audit import AuditFile, AuditSummary

if TYPE_CHECKING:
    from usernat.nat.audit import Record


class Accounts:
    """The `audit` of a gateway. path: of the file, None for none. summary: there where asked for. Raises ConfigError for a file that cannot be written."""

    def __init__(self, path: str | None, *, summary: bool) -> None:
        self._file = None if path is None else AuditFile(path)
        self.summary = AuditSummary() if summary else None
        # Rules that log are heard on standard error, a line each.
        logging.getLogger("usernat.policy").setLevel(logging.INFO)

    def __call__(self, record: Record) -> None:
        """Takes one record."""
        if self._file is not None:
            self._file(record)
        if self.summary is not None:
            self.summary(record)

    def close(self) -> None:
        """Closes the file."""
        if self._file is not None:
            self._file.close()
