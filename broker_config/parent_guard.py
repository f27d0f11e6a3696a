"""Run a command until the parent process ends: ``parent_guard.py DIRECTORY COMMAND...``.

When the parent has ended, *DIRECTORY* is removed. If the command ends by itself, the folder stays: the parent
may start the command again. Whatever the command has started in our process group ends with it.

The parent holds the other end of our standard input, which closes when the parent ends. The kernel's own
death signal (prctl) is lost when a daemon started by root changes its user, as mosquitto does.

This file imports only the standard library and is run by its path.
"""

import os
import shutil
import signal
import subprocess
import sys
import threading

_KILL_AFTER_S = 5.0
_LINGER_S = 0.2
_REMOVAL_S = 10.0
_OPEN_FILES = 65_536  # one per connection; the usual 1024 would limit a fleet


def allow_many_connections() -> None:
    """Raise the limit of open files of this process and its children, as far as allowed."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < limit:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))


def end_process(child: "subprocess.Popen[bytes]") -> None:
    """Ask *child* to end, and kill it if it does not."""
    child.terminate()
    try:
        child.wait(_KILL_AFTER_S)
    except subprocess.TimeoutExpired:
        child.kill()


def end_group() -> None:
    """End the other processes of our group, such as the daemon that lists the nodes of RabbitMQ."""
    if hasattr(os, "killpg") and os.getpgrp() == os.getpid():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.killpg(0, signal.SIGTERM)


def end_with_parent(child: "subprocess.Popen[bytes]", directory: str, parent_ended: threading.Event) -> None:
    """Wait until the parent has ended or closed its end on purpose; then end *child*."""
    while os.read(0, 4096):
        pass
    parent_ended.set()
    end_process(child)
    shutil.rmtree(directory, ignore_errors=True)


def main(directory: str, command: list[str]) -> int:
    """Run *command*; return its exit status, or 128 + n if signal n ended it."""
    allow_many_connections()
    signal.signal(signal.SIGTERM, lambda _signal, _frame: sys.exit(128 + signal.SIGTERM))
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    parent_ended = threading.Event()
    try:
        watching = threading.Thread(
            target=end_with_parent, args=(child, directory, parent_ended), daemon=True
        )
        watching.start()
        status = child.wait()
        if parent_ended.wait(_LINGER_S):
            watching.join(_REMOVAL_S)  # the directory is being removed
    finally:
        end_process(child)
        end_group()
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
