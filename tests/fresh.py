"""Fresh processes for programs that import TensorFlow, which takes 5 s of a processor each time.

They are forks of a process that has imported `tensorflow` and `tensorflow_text`, nothing else, and has not run an op:
TensorFlow starts its threads and reads the devices with the first one. A fork may ask for further ones.
"""

import atexit
import gc
import json
import os
import pathlib
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import types

# Where the process that forks listens: a variable of the environment, so that forks find it too.
_ADDRESS = "FRESH_PROCESSES"


class Process:
    """A program that runs, much as a `subprocess.Popen`.

    Args:
        arguments: those of `python`: the path of a program, `-m` and a module, or `-c` and code; then the program's.
        input: text on its standard input.
        env: its environment; none means the present one.
        terminal: path of a terminal that is its standard input, output and error. None: they are captured.
        piped: its output is a stream to read from, `stdout`, while it runs.
    """

    def __init__(self, *arguments, input="", env=None, terminal=None, piped=False):
        self._folder = tempfile.TemporaryDirectory()
        self._streams = [os.path.join(self._folder.name, name) for name in ("stdin", "stdout", "stderr")]
        pathlib.Path(self._streams[0]).write_text(input)
        if piped:
            os.mkfifo(self._streams[1])
        request = {
            "arguments": [*map(str, arguments)],
            "streams": [terminal] * 3 if terminal else self._streams,
            "environment": dict(os.environ if env is None else env),
            "folder": os.getcwd(),
        }
        if _ADDRESS not in os.environ:
            _start()
        self._connection = socket.socket(socket.AF_UNIX)
        self._connection.connect(os.environ[_ADDRESS])
        self._connection.sendall(json.dumps(request).encode() + b"\n")
        # Without a buffer: `select` knows only of what was not read.
        self._answers = self._connection.makefile("rb", buffering=0)
        self.pid = int(self._answers.readline())
        self.returncode = None
        self.stdout = open(self._streams[1]) if piped else None  # noqa: SIM115

    def poll(self, timeout=0.0):
        """The exit code, negative for a signal; None while it runs."""
        if self.returncode is None and select.select([self._answers], [], [], timeout)[0]:
            self.returncode = int(self._answers.readline())
            self._answers.close()
            self._connection.close()
        return self.returncode

    def send_signal(self, number):
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self):
        self.send_signal(signal.SIGKILL)

    def wait(self, timeout=600.0):
        """Waits for the end; returns the exit code."""
        if self.poll(timeout) is None:
            self.kill()
            self.poll(None)
            raise subprocess.TimeoutExpired("a fresh process", timeout)
        return self.returncode

    def communicate(self, timeout=600.0):
        """Waits for the end; returns what it wrote to its output and its errors."""
        self.wait(timeout)
        with self._folder:
            return tuple(pathlib.Path(path).read_text() for path in self._streams[1:])


def run(*arguments, timeout=600.0, **options):
    """Runs a program to its end; returns a `subprocess.CompletedProcess`."""
    process = Process(*arguments, **options)
    output, errors = process.communicate(timeout)
    return subprocess.CompletedProcess([*arguments], process.returncode, output, errors)


def run_script(path, *arguments):
    """Runs a program that finds what is beside it, as `python PATH` does."""
    paths = [os.path.dirname(path), os.environ.get("PYTHONPATH", "")]
    return run(path, *arguments, env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))})


def _run_check(command, *, input, timeout, env, **options):
    assert command[:2] == [sys.executable, "-I"]
    assert options == {"capture_output": True, "text": True}
    return run(*command[2:], input=input, timeout=timeout, env=env)


# What `kerasformer.serving.checking` takes for `subprocess` to check exports in forks.
CHECKS = types.SimpleNamespace(run=_run_check, TimeoutExpired=subprocess.TimeoutExpired)


def _start():
    """Starts the process that forks; it ends with this one."""
    folder = tempfile.TemporaryDirectory()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.join(folder.name, "socket"))
        listener.listen()
        # Isolated: it finds neither this package nor the tests.
        command = [sys.executable, "-I", __file__, str(listener.fileno())]
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
        server = subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=[listener.fileno()], env=environment)
        os.environ[_ADDRESS] = listener.getsockname()
    atexit.register(folder.cleanup)
    atexit.register(server.stdin.close)


def _serve(listener):
    import tensorflow  # noqa: F401
    import tensorflow_text  # noqa: F401

    gc.freeze()
    gc.set_threshold(50_000, 10, 10)  # as in conftest.py
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # Nobody waits for the keepers of the connections.
    while listener in select.select([listener, sys.stdin], [], [])[0]:
        connection, _ = listener.accept()
        if not os.fork():
            listener.close()
            _keep(connection)
            return
        connection.close()


def _keep(connection):
    """Becomes the program that is asked for, once this process has forked; its parent tells how it ends."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    with connection, connection.makefile("rw") as stream:
        request = json.loads(stream.readline())
        child = os.fork()
        if child:
            try:
                print(child, file=stream, flush=True)
                print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), file=stream, flush=True)
            finally:
                os._exit(0)
    _become(**request)


def _become(arguments, streams, environment, folder):
    for number, path in enumerate(streams):
        opened = os.open(path, os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(opened, number)
        os.close(opened)
    # Buffered as what they are now, such as terminals.
    sys.stdin, sys.stdout = open(0, closefd=False), open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    # As Python starts a program, but that it finds what is beside its file where the environment says so only.
    sys.path[:0] = [path for path in environment.get("PYTHONPATH", "").split(os.pathsep) if path]
    if arguments[0] in ("-m", "-c"):
        sys.path.insert(0, folder)
    sys.argv = arguments
    if arguments[0] == "-m":
        del sys.argv[0]
        runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)
    elif arguments[0] == "-c":
        exec(sys.argv.pop(1), {"__name__": "__main__"})
    else:
        runpy.run_path(arguments[0], run_name="__main__")


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
