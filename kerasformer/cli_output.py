"""What the command `kerasformer` prints."""

import contextlib


def shown(value):
    """Numbers with separators, lists and dictionaries without brackets, long ones cut."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, dict):
        return ", ".join(f"{key} {shown(part)}" for key, part in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value[:20])) + (f" and {len(value) - 20} more" if len(value) > 20 else "")
    return str(value)


def megabytes(folder):
    return f"{sum(path.stat().st_size for path in folder.rglob('*') if path.is_file()) / 1e6:.1f} MB"


def print_signatures(signatures):
    for name, signature in sorted(signatures.items()):
        inputs, outputs = (
            ", ".join(f"{key} {value}" for key, value in signature[side].items()) for side in ("inputs", "outputs")
        )
        print(f"  {name}: {inputs} → {outputs}")


@contextlib.contextmanager
def doing(text):
    """Shows what is being done while the block runs, on standard error; a spinner where that is a terminal."""
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda text: None
        return
    with console.status(text) as status:
        yield status.update


@contextlib.contextmanager
def progress(text):
    """Yields a function `(done, total)` that moves a bar on standard error, where that is a terminal."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda done, total: None
        return
    with Progress(console=console, transient=True) as bars:
        bar = bars.add_task(text, total=None)
        yield lambda done, total: bars.update(bar, completed=done, total=total)
