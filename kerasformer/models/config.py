"""What the configs of all models share."""

import dataclasses

from kerasformer.errors import InputError


def check_positive(config, *names):
    """Raises InputError unless each named field of the dataclass is a positive integer."""
    for name in names:
        value = getattr(config, name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise InputError(f"`{name}` must be a positive integer. Received: {name}={value!r}.")


def check_rate(config, *names):
    """Raises InputError unless each named field of the dataclass is in [0, 1)."""
    for name in names:
        if not 0 <= getattr(config, name) < 1:
            raise InputError(f"`{name}` must be in [0, 1). Received: {name}={getattr(config, name)!r}.")


def from_dict(cls, values):
    """A config from the dictionary that `dataclasses.asdict` gave; fields it does not know are named."""
    known = {field.name for field in dataclasses.fields(cls)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise InputError(f"{cls.__name__} has no fields {unknown}; it has {sorted(known)}.")
    return cls(**values)
