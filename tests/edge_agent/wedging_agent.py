"""`edge-agent` that can be made to hang: by SIGUSR1 its loop, by SIGUSR2 whoever sees a process off."""

import signal
import sys
import time

from edge_agent.cli import main
from edge_agent.inference import workers
from edge_agent.inference.child import Child


def hang(*_):
    time.sleep(3600)


def hang_at_the_end(*_):
    Child.end = hang


# The loop is in the main thread, where Python's signal handlers run.
signal.signal(signal.SIGUSR1, hang)
signal.signal(signal.SIGUSR2, hang_at_the_end)
workers._WEDGED_S = 1.0
sys.exit(main(sys.argv[1:]))
