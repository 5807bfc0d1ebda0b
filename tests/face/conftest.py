"""What tests of the command line share."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from usernat.cli import main

CommandLine = Callable[..., tuple[int, str, str]]


@pytest.fixture
def usernat(capsys: pytest.CaptureFixture[str]) -> CommandLine:
    """Run the command line here: exit status, standard output, standard error."""

    def call(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        out, err = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, out, err

    return call
