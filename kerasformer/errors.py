"""Errors for people."""

import contextlib
import sys


class InputError(ValueError):
    """Something the caller gave cannot be used: a file, a flag, an argument, a checkpoint.

    The message is one line: what was expected, what was received and what to do. Recipes and command lines
    print it without a traceback and end with exit code 1.
    """


@contextlib.contextmanager
def input_errors():
    """Raises an InputError that TensorFlow has wrapped, of a generator or a check in a graph, as what it is."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        message = _wrapped_message(error)
        if message is None:
            raise
        raise InputError(message) from error


@contextlib.contextmanager
def other_forms(where):
    """Raises InputError where what is read in its block has another form than its readers take for granted, such as a
    field that is missing, or a text in place of a list.

    Args:
        where: str, what a message calls the file.
    """
    try:
        yield
    except InputError:
        raise
    except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError) as error:
        found = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(f"{where} has a field that is missing or of another kind than expected ({found}).") from error


@contextlib.contextmanager
def one_line_errors():
    """Ends the program with one line and exit code 1 on a mistake that its user can mend; other errors are bugs and
    keep their traceback."""
    try:
        yield
    except (InputError, OSError, FloatingPointError) as error:
        print("error:", " ".join(str(error).split()), file=sys.stderr)
        sys.exit(1)
    except Exception as error:
        message = _wrapped_message(error)
        if message is None:
            raise
        print("error:", message, file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


def _wrapped_message(error):
    """The message of an InputError that another error holds, or None: TensorFlow puts name and message of what a data
    set's generator raised into its own error."""
    _, found, message = str(error).partition(f"{InputError.__name__}: ")
    return message.splitlines()[0].strip() if found else None
