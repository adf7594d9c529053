import pathlib
import sys

# Tiny tasks, and tiny checkpoints that were recorded from transformers.
sys.path.extend(str(pathlib.Path(__file__).parents[1] / room) for room in ("tasks", "families"))
