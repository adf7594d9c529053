"""Sockets to listen on, and what to tell when a port cannot be had."""

import errno
import socket

from kerasformer.errors import InputError


def listen(host, port, flag):
    """A socket that listens on `host:port`. Raises `InputError` that names the flag to change."""
    if not 0 <= port <= 65535:
        raise InputError(f"{flag} must be from 0 to 65535. Received: {port}.")
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address, family=family, backlog=1024)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            why = f"Port {port} on {host} is in use: choose another with {flag} (0 takes a free one)."
        else:
            why = f"Cannot listen on {host}:{port} ({flag}, --host): {error.strerror or error}."
        raise InputError(why) from error
