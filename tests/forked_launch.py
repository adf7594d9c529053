"""`kerasformer.training.launch` with forks for workers, of which the output is shown when they have ended."""

import subprocess
import sys
import time
import types

import fresh

from kerasformer.training import launch

started = []


class Worker(fresh.Process):
    def __init__(self, command, *, env, stdout, stderr):
        super().__init__(*command[1:], env=env)
        self.stdout = self.lines()
        started.append(self)

    def lines(self):
        # Another thread asks whether it has ended.
        while self.returncode is None:
            time.sleep(0.1)
        for text in self.communicate():
            yield from text.encode().splitlines(keepends=True)


if __name__ == "__main__":
    launch.subprocess = types.SimpleNamespace(Popen=Worker, PIPE=subprocess.PIPE, STDOUT=subprocess.STDOUT)
    code = launch.main()
    for line in started[0].lines():
        sys.stderr.write(line.decode())
    sys.exit(code)
