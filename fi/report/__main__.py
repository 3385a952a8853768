"""``python -m fi.report``."""

import sys

from fi.report.command import main

sys.exit(main())
