"""Waitress, run so that it ends when the requests under way are answered."""

import threading
import time

import waitress
import waitress.wasyncore


class HttpServer:
    """Serves a WSGI application on a socket.

    Waitress' own `run` ends at once and drops answers that are not sent yet. Its loop therefore runs here.

    Args:
        application: a WSGI application.
        listener: a listening socket, which the server closes.
        threads: how many requests run at once.
    """

    def __init__(self, application, listener, threads=16):
        self._sockets = {}
        self._listener = listener
        self._server = waitress.create_server(
            application,
            map=self._sockets,
            sockets=[listener],
            threads=threads,
            connection_limit=1000,
            ident="kerasformer preview",
        )
        self._stopping = threading.Event()
        self._grace = 0.0
        self._unanswered = False
        self._thread = threading.Thread(target=self._run, name="http", daemon=True)

    def start(self):
        self._thread.start()

    def stop(self, grace=0.0):
        """Accepts no more connections, and waits `grace` seconds for pending requests.

        Returns:
            Whether all of them ended.
        """
        self._grace = grace
        self._stopping.set()
        if self._thread.is_alive():
            self._server.pull_trigger()
            self._thread.join()
        else:
            self._close()
        return not self._unanswered

    def _run(self):
        while not self._stopping.is_set():
            self._turn(1.0)
        self._server.del_channel()
        self._server.socket.close()
        end = time.monotonic() + self._grace
        while self._busy() and time.monotonic() < end:
            self._turn(0.05)
        self._unanswered = self._busy()
        self._close()

    def _turn(self, seconds):
        waitress.wasyncore.loop(timeout=seconds, use_poll=True, map=self._sockets, count=1)

    def _busy(self):
        channels = list(self._server.active_channels.values())
        return any(channel.requests or channel.total_outbufs_len for channel in channels)

    def _close(self):
        self._server.task_dispatcher.shutdown(timeout=0.1)
        waitress.wasyncore.close_all(self._sockets)
        self._listener.close()
