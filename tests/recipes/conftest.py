import pathlib
import sys

# As for a script: the recipes import `common`, which is beside them.
sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "recipes"))
