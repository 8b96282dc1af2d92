"""A worker that crashes as a kernel does that the CPU lacks an instruction for."""

import os
import signal

os.kill(os.getpid(), signal.SIGILL)
