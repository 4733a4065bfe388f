"""What scripts/compare is made of; nothing outside Python's standard library."""

import signal
import sys

# Who is asked to end stops what it started, as at Ctrl-C.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
