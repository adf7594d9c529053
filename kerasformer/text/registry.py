"""Components of a `tokenizer.json` by the name of their type.

Each of `normalizers.py`, `pre_tokenizers.py`, `models.py` and `decoders.py` has one registry, `{type: class}`. A class
takes the fields of its component as keyword arguments, so that an argument without a default is a field that must be
there, and a field that no argument takes is refused by name.
"""

import inspect

from kerasformer.errors import InputError


def make(registry, part, component, where, **more):
    """The object that a component of a `tokenizer.json` describes.

    Args:
        registry: dict from type to class.
        part: str, what a message calls the component, such as "normalizer".
        component: dict with a `type`.
        where: str, what a message calls the file.
        more: further keyword arguments of the class, which are no fields.

    Raises:
        InputError: a type or a field that is not known, a field that is missing, or a value that is refused.
    """
    fields = dict(component)
    kind = fields.pop("type", None)
    if kind not in registry:
        raise InputError(f"{where} must have a {part} that is known ({', '.join(registry)}). Received: {kind!r}.")
    parameters = inspect.signature(registry[kind]).parameters
    unknown = [name for name in fields if name not in parameters]
    if unknown:
        raise InputError(
            f"{where}: the {part} {kind} has no known field {unknown[0]!r}. Known: {', '.join(parameters)}."
        )
    missing = [name for name, one in parameters.items() if one.default is one.empty and name not in {**fields, **more}]
    if missing:
        raise InputError(f"{where}: the {part} {kind} must have {missing[0]!r}.")
    try:
        return registry[kind](**fields, **more)
    except InputError as error:
        raise InputError(f"{where}: the {part} {kind}: {error}") from None


def flatten(component, name):
    """A component as a list of components, those of a `Sequence`, whose field is `name`, one by one."""
    if component is None:
        return []
    if component.get("type") == "Sequence":
        return [inner for part in component[name] for inner in flatten(part, name)]
    return [component]
