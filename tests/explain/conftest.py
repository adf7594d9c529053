import pathlib
import sys

# The tiny tasks are those of the tests of tasks.
sys.path.append(str(pathlib.Path(__file__).parents[1] / "tasks"))
