"""A pseudo-terminal for tests of everything that draws."""

import fcntl
import os
import pty
import select
import struct
import termios
import time

import fresh


def run_in_terminal(*arguments, env=None, timeout=300, size=(40, 200)):
    """Runs a program whose standard streams are a terminal.

    Args:
        arguments: as of `fresh.Process`.
        env: variables beside those of this process.
        size: rows and columns of the terminal.

    Returns:
        `(exit code, what it wrote as str, [(seconds since the start, chunk as str)])`.
    """
    outer, inner = pty.openpty()
    fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
    variables = {**os.environ, "TERM": "xterm-256color", "TF_CPP_MIN_LOG_LEVEL": "2", **(env or {})}
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLUMNS", "LINES"):
        variables.pop(name, None)
    start = time.monotonic()
    process = fresh.Process(*arguments, env=variables, terminal=os.ttyname(inner))
    chunks = []
    try:
        while time.monotonic() - start < timeout:
            # Asked first: what it wrote before its end can be read after it.
            ended = process.poll() is not None
            if select.select([outer], [], [], 0 if ended else 0.2)[0]:
                chunks.append((time.monotonic() - start, os.read(outer, 65536).decode("utf-8", "replace")))
            elif ended:
                break
        else:
            process.kill()
    finally:
        os.close(inner)
        os.close(outer)
    return process.wait(), "".join(chunk for _, chunk in chunks), chunks
