"""Runs a command as a service manager does: with sockets from descriptor 3 on, and told so by its environment.

    python handover.py HAND NAMES COMMAND...

HAND is the path of a Unix socket from which the descriptors come, NAMES what they are called, with colons.
Imports nothing of the project: what it runs shall pay for its own start.
"""

import os
import socket
import sys

FIRST = 3
ASIDE = 100  # beyond every descriptor that is open here


def main() -> None:
    path, names, *command = sys.argv[1:]
    with socket.socket(socket.AF_UNIX) as hand:
        hand.connect(path)
        _, descriptors, _, _ = socket.recv_fds(hand, 1, 16)
    for index, descriptor in enumerate(descriptors):
        os.dup2(descriptor, ASIDE + index)
        os.close(descriptor)
    for index in range(len(descriptors)):
        os.dup2(ASIDE + index, FIRST + index, inheritable=True)
        os.close(ASIDE + index)
    os.environ |= {"LISTEN_FDS": str(len(descriptors)), "LISTEN_FDNAMES": names}
    os.environ.setdefault("LISTEN_PID", str(os.getpid()))
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
