"""``python -m fi``: ``faulty-snn``, where that is not installed."""

from fi.cli.entry_point import run_and_end

run_and_end()
