#!/usr/bin/python3
"""Runs a command for which io_uring is forbidden, as it is in many containers.

    no_io_uring.py COMMAND [ARGUMENT...]
"""

import ctypes
import errno
import os
import struct
import sys

PR_SET_NO_NEW_PRIVS = 38
PR_SET_SECCOMP = 22
SECCOMP_MODE_FILTER = 2
SECCOMP_RET_ERRNO = 0x00050000
SECCOMP_RET_ALLOW = 0x7FFF0000
LOAD_WORD, JUMP_IF_GREATER_OR_EQUAL, RETURN = 0x20, 0x35, 0x06
IO_URING_SETUP, IO_URING_REGISTER = 425, 427  # the same numbers on every architecture


def instruction(code, if_true, if_false, value):
    return struct.pack("HBBI", code, if_true, if_false, value)


program = b"".join([
    instruction(LOAD_WORD, 0, 0, 0),  # the number of the system call
    instruction(JUMP_IF_GREATER_OR_EQUAL, 0, 2, IO_URING_SETUP),
    instruction(JUMP_IF_GREATER_OR_EQUAL, 1, 0, IO_URING_REGISTER + 1),
    instruction(RETURN, 0, 0, SECCOMP_RET_ERRNO | errno.EPERM),
    instruction(RETURN, 0, 0, SECCOMP_RET_ALLOW),
])


class Filter(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p)]


libc = ctypes.CDLL(None, use_errno=True)
wanted = Filter(len(program) // 8, program)
if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
    sys.exit(f"no_new_privs: {os.strerror(ctypes.get_errno())}")
if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(wanted), 0, 0) != 0:
    sys.exit(f"seccomp: {os.strerror(ctypes.get_errno())}")
os.execv(sys.argv[1], sys.argv[1:])
