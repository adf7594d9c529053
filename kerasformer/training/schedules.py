"""Learning-rate schedules."""

import keras

from kerasformer.errors import InputError


@keras.saving.register_keras_serializable(package="kerasformer")
class LinearWarmup(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warmup to `peak` over `warmup_steps`, then linear decay to 0 at `total_steps` (Devlin et al. 2019, A.2).

    Step t, counted from 0, is `peak * (t + 1) / warmup_steps` while warming up, so that no step is lost to a rate
    of 0, then `peak * (total_steps - t) / (total_steps - warmup_steps)`.
    """

    def __init__(self, peak, warmup_steps, total_steps):
        self.peak, self.warmup_steps, self.total_steps = peak, warmup_steps, total_steps

    def __call__(self, step):
        step = keras.ops.cast(step, "float32")
        up = (step + 1) / max(self.warmup_steps, 1)
        down = (self.total_steps - step) / max(self.total_steps - self.warmup_steps, 1)
        return self.peak * keras.ops.clip(keras.ops.minimum(up, down), 0.0, 1.0)

    def get_config(self):
        return {"peak": self.peak, "warmup_steps": self.warmup_steps, "total_steps": self.total_steps}


@keras.saving.register_keras_serializable(package="kerasformer")
class Noam(keras.optimizers.schedules.LearningRateSchedule):
    """`scale * width^-0.5 * min(t^-0.5, t * warmup_steps^-1.5)`, t from 1 (Vaswani et al. 2017, section 5.3)."""

    def __init__(self, width, warmup_steps, scale):
        self.width, self.warmup_steps, self.scale = width, warmup_steps, scale

    def __call__(self, step):
        step = keras.ops.cast(step, "float32") + 1
        return self.scale * self.width**-0.5 * keras.ops.minimum(step**-0.5, step * self.warmup_steps**-1.5)

    def get_config(self):
        return {"width": self.width, "warmup_steps": self.warmup_steps, "scale": self.scale}


def linear_warmup(
    peak: float, total_steps: int, warmup: float = 0.1
) -> keras.optimizers.schedules.LearningRateSchedule:
    """The schedule that BERT is fine-tuned with.

    Args:
        peak: highest learning rate.
        total_steps: number of steps of the training.
        warmup: share of the steps, if below 1, or number of steps in which the rate increases.

    Raises:
        InputError: `total_steps` below 1, or `warmup` negative or beyond `total_steps`.
    """
    return LinearWarmup(float(peak), _warmup_steps(total_steps, warmup), int(total_steps))


def cosine(
    peak: float, total_steps: int, warmup: float = 0.1, *, end: float = 0.0
) -> keras.optimizers.schedules.LearningRateSchedule:
    """Linear warmup to `peak`, then cosine decay to `end` (Loshchilov and Hutter 2017, arXiv:1608.03983).

    Args:
        peak, total_steps, warmup: as in `linear_warmup`.
        end: last learning rate.

    Raises:
        InputError: as `linear_warmup` does; or `end` is not between 0 and `peak`.
    """
    warmup_steps = _warmup_steps(total_steps, warmup)
    if not 0 <= end <= peak:
        raise InputError(f"`end` must be between 0 and `peak`. Received: end={end}, peak={peak}.")
    if not warmup_steps:
        return keras.optimizers.schedules.CosineDecay(float(peak), int(total_steps), alpha=end / peak)
    down = max(int(total_steps) - warmup_steps, 1)
    return keras.optimizers.schedules.CosineDecay(
        peak / warmup_steps, down, alpha=end / peak, warmup_target=float(peak), warmup_steps=warmup_steps
    )


def _warmup_steps(total_steps, warmup):
    warmup_steps = round(warmup * total_steps) if warmup < 1 else int(warmup)
    if total_steps < 1 or not 0 <= warmup_steps <= total_steps:
        raise InputError(
            "`total_steps` must be at least 1, and `warmup` between 0 and that. "
            f"Received: total_steps={total_steps}, warmup={warmup}."
        )
    return warmup_steps


def noam(width: int, warmup_steps: int = 4000, scale: float = 1.0) -> keras.optimizers.schedules.LearningRateSchedule:
    """The schedule of Vaswani et al. 2017, section 5.3, for a model of `width`."""
    if width < 1 or warmup_steps < 1:
        raise InputError(
            f"`width` and `warmup_steps` must be at least 1. Received: width={width}, warmup_steps={warmup_steps}."
        )
    return Noam(int(width), int(warmup_steps), float(scale))
