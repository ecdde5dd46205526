"""What tests of several rooms call."""

import sys

import pytest

import signwave_cli


@pytest.fixture
def signwave(monkeypatch, capsys):
    """Call with arguments; returns (exit status, standard output, standard error)."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["signwave", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            signwave_cli.main()
            raise SystemExit(0)
        out, err = capsys.readouterr()
        return stop.value.code or 0, out, err

    return call
