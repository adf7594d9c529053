"""Fresh processes for programs that import TensorFlow, which takes 5 s of a processor each time.

They are forks of a process that has imported `tensorflow` and `tensorflow_text`, nothing else, and has not run an op:
TensorFlow starts its threads and reads the devices with the first one.
"""

import atexit
import gc
import json
import os
import pathlib
import runpy
import select
import signal
import subprocess
import sys
import tempfile


class Process:
    """A program that runs, as a `subprocess.Popen` of which the output is captured as text. One at a time.

    Args:
        program: path of a Python file.
        arguments: strings.
        input: text on its standard input.
        env: its environment; none means the present one.
    """

    _parent = None

    def __init__(self, program, *arguments, input="", env=None):
        if Process._parent is None:
            # Isolated: it finds neither this package nor the tests.
            command = [sys.executable, "-I", __file__]
            environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
            pipe = subprocess.PIPE
            # Without a buffer: `select` knows only of what was not read.
            Process._parent = subprocess.Popen(command, bufsize=0, stdin=pipe, stdout=pipe, env=environment)
            atexit.register(Process._parent.stdin.close)
        self._folder = tempfile.TemporaryDirectory()
        streams = [os.path.join(self._folder.name, name) for name in ("stdin", "stdout", "stderr")]
        pathlib.Path(streams[0]).write_text(input)
        request = {
            "arguments": [str(program), *map(str, arguments)],
            "streams": streams,
            "environment": dict(os.environ if env is None else env),
            "folder": os.getcwd(),
        }
        self._parent.stdin.write(json.dumps(request).encode() + b"\n")
        self._parent.stdin.flush()
        self.pid = int(self._parent.stdout.readline())
        self.returncode = None

    def poll(self, timeout=0.0):
        """The exit code, negative for a signal; None while it runs."""
        if self.returncode is None and select.select([self._parent.stdout], [], [], timeout)[0]:
            self.returncode = int(self._parent.stdout.readline())
        return self.returncode

    def send_signal(self, number):
        if self.poll() is None:
            os.kill(self.pid, number)

    def communicate(self, timeout=600.0):
        """Waits for the end; returns what it wrote to its output and its errors."""
        if self.poll(timeout) is None:
            self.send_signal(signal.SIGKILL)
            self.poll(None)
            raise subprocess.TimeoutExpired("a fresh process", timeout)
        with self._folder as folder:
            return tuple((pathlib.Path(folder) / name).read_text() for name in ("stdout", "stderr"))


def run(program, *arguments, timeout=600.0, **options):
    """Runs a program to its end; returns a `subprocess.CompletedProcess`."""
    process = Process(program, *arguments, **options)
    output, errors = process.communicate(timeout)
    return subprocess.CompletedProcess([program, *arguments], process.returncode, output, errors)


def run_script(path, *arguments):
    """Runs a program that finds what is beside it, as `python PATH` does."""
    paths = [os.path.dirname(path), os.environ.get("PYTHONPATH", "")]
    return run(path, *arguments, env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))})


def _serve():
    import tensorflow  # noqa: F401
    import tensorflow_text  # noqa: F401

    gc.freeze()
    gc.set_threshold(50_000, 10, 10)  # as in conftest.py
    for line in sys.stdin:
        child = os.fork()
        if not child:
            _become(**json.loads(line))
            return
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def _become(arguments, streams, environment, folder):
    for number, path in enumerate(streams):
        opened = os.open(path, os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(opened, number)
        os.close(opened)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    # As Python starts a file, but where the environment says so only.
    sys.path[:0] = [path for path in environment.get("PYTHONPATH", "").split(os.pathsep) if path]
    sys.argv = arguments
    runpy.run_path(arguments[0], run_name="__main__")


if __name__ == "__main__":
    _serve()
