#!/usr/bin/python3
"""Runs a command as an unprivileged user who has no pipe of full size left.

    few_pipes.py COMMAND [ARGUMENT...]

The kernel grants a user 16,384 pages for pipes (fs.pipe-user-pages-soft); beyond that a pipe has
two pages and cannot grow. A second process of that user takes them all, and ends with the command.
"""

import ctypes
import fcntl
import os
import resource
import signal
import sys

USER = 54321
PR_SET_PDEATHSIG = 1
F_GETPIPE_SZ = 1032

hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
if os.geteuid() == 0:
    os.setgroups([])
    os.setresgid(USER, USER, USER)
    os.setresuid(USER, USER, USER)
# A change of user clears who is told of the parent's end.
ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)

ready, tell = os.pipe()
if os.fork() == 0:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    pipes = []
    while not pipes or fcntl.fcntl(pipes[-1][0], F_GETPIPE_SZ) > 8192:
        pipes.append(os.pipe())
    os.write(tell, b"!")
    os.close(tell)
    signal.pause()
    os._exit(0)

os.close(tell)
if os.read(ready, 1) != b"!":
    sys.exit("could not take all pipes")
os.close(ready)
os.execv(sys.argv[1], sys.argv[1:])
