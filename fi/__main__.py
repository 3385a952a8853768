"""``python -m fi``: ``faulty-snn``, where that is not installed."""

import sys

from fi.cli.entry_point import main

sys.exit(main())
