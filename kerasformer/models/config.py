"""What the configs of all models share."""

from kerasformer.errors import InputError


def check_positive(config, *names):
    """Raises InputError unless each named field of the dataclass is a positive integer."""
    for name in names:
        value = getattr(config, name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise InputError(f"`{name}` must be a positive integer. Received: {name}={value!r}.")


def check_rate(config, *names):
    """Raises InputError unless each named field of the dataclass is a number in [0, 1)."""
    for name in names:
        value = getattr(config, name)
        if not isinstance(value, (int, float)) or not 0 <= value < 1:
            raise InputError(f"`{name}` must be a number in [0, 1). Received: {name}={value!r}.")
