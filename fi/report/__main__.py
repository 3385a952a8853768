"""``python -m fi.report``."""

from fi.base.garbage import end_process
from fi.report.command import main

end_process(main())
