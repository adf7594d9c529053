"""A pseudo-terminal for tests of everything that draws."""

import os
import pty
import select
import subprocess
import time


def run_in_terminal(command, *, env=None, timeout=300, size=(40, 200)):
    """Runs a command whose standard streams are a terminal.

    Args:
        command: list of str.
        env: variables beside those of this process.
        size: rows and columns of the terminal.

    Returns:
        `(exit code, what it wrote as str, [(seconds since the start, chunk as str)])`.
    """
    import fcntl
    import struct
    import termios

    outer, inner = pty.openpty()
    fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
    variables = {**os.environ, "TERM": "xterm-256color", "TF_CPP_MIN_LOG_LEVEL": "2", **(env or {})}
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLUMNS", "LINES"):
        variables.pop(name, None)
    start = time.monotonic()
    process = subprocess.Popen(command, stdin=inner, stdout=inner, stderr=inner, env=variables, close_fds=True)
    os.close(inner)
    chunks = []
    try:
        while time.monotonic() - start < timeout:
            if select.select([outer], [], [], 0.2)[0]:
                try:
                    chunk = os.read(outer, 65536)
                except OSError:  # the other end is closed
                    break
                if not chunk:
                    break
                chunks.append((time.monotonic() - start, chunk.decode("utf-8", "replace")))
            elif process.poll() is not None:
                break
        else:
            process.kill()
    finally:
        os.close(outer)
    return process.wait(), "".join(chunk for _, chunk in chunks), chunks
