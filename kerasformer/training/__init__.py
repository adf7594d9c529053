"""The trainer, strategies, optimizers and schedules."""

from kerasformer.training.optimizers import adamw
from kerasformer.training.progress import ProgressBar
from kerasformer.training.results import print_table, write_metrics
from kerasformer.training.schedules import linear_warmup, noam
from kerasformer.training.strategies import make_strategy
from kerasformer.training.trainer import Trainer

__all__ = ["ProgressBar", "Trainer", "adamw", "linear_warmup", "make_strategy", "noam", "print_table", "write_metrics"]
