"""The error that means: the caller can mend this."""


class InputError(ValueError):
    """Something the caller gave cannot be used: a file, a flag, an argument, a checkpoint.

    The message is one line that tells what was expected, what was received and what to do. Recipes and command lines
    print it without a traceback and end with exit code 1.
    """
