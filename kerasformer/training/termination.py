"""SIGTERM, with which schedulers take a machine back: save, then end."""

import signal
import sys
import threading

# As shells report a process that SIGTERM ended.
EXIT_CODE = 128 + signal.SIGTERM


class TerminationSignal:
    """Notes SIGTERM inside a `with` block, instead of dying of it.

    Attributes:
        received: whether it came to this process.
        agreed: whether it came to any of the workers, as all of them know.
    """

    def __init__(self):
        self.received = self.agreed = False
        self._before = None

    def __enter__(self):
        # Python lets only the main thread handle signals.
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, self._note)
        return self

    def _note(self, *_):
        self.received = True

    def __exit__(self, *_):
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)

    def leave(self, step, folder):
        """Ends the program with exit code 143 and a line on standard error."""
        saved = f"saved in {folder}, the same command resumes from there" if folder else "nothing saved"
        print(f"stopped by SIGTERM after step {step}: {saved}", file=sys.stderr)
        sys.exit(EXIT_CODE)
