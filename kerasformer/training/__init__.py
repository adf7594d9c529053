"""The trainer, strategies, optimizers and schedules."""

from kerasformer.training.checkpoints import average_checkpoints
from kerasformer.training.cluster import is_chief
from kerasformer.training.curves import MetricsLog, draw_curves
from kerasformer.training.optimizers import adamw, layer_rates
from kerasformer.training.progress import ProgressBar
from kerasformer.training.results import print_table, write_metrics
from kerasformer.training.schedules import cosine, linear_warmup, noam
from kerasformer.training.strategies import make_strategy
from kerasformer.training.trainer import Trainer

__all__ = [
    "MetricsLog",
    "ProgressBar",
    "Trainer",
    "adamw",
    "average_checkpoints",
    "cosine",
    "draw_curves",
    "is_chief",
    "layer_rates",
    "linear_warmup",
    "make_strategy",
    "noam",
    "print_table",
    "write_metrics",
]
