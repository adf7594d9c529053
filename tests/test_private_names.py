"""Private names of Keras, TensorFlow and tensorflow-text are used in one file, to be read again for each version."""

import ast
import pathlib

import pytest

import kerasformer

ROOT = pathlib.Path(kerasformer.__file__).parent

# The process that checks an export imports TensorFlow alone, as a server does: it cannot import `_compat`.
EXCEPTIONS = {"_compat.py": None, "serving/check_process.py": {"tensorflow.python.framework.op_def_registry"}}

MODULES = ("tensorflow.python", "tensorflow.compiler", "keras.src", "tensorflow_text.python", "tensorflow_text.core")

# Documented names that begin with an underscore: of named tuples, of `os`, and Keras's guide to masking.
PUBLIC = {"_replace", "_asdict", "_fields", "_exit", "_keras_mask"}


def own_names(trees):
    """Attributes that this package itself defines: functions, methods, classes, and what is assigned."""
    names = set()
    for tree in trees:
        for node in ast.walk(tree):
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                names.add(node.name)
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                names.add(node.attr)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                names.add(node.id)
            elif isinstance(node, ast.Call) and ast.unparse(node.func) == "object.__setattr__":
                names.add(node.args[1].value)
    return names


def is_private(name):
    return name.startswith("_") and not name.startswith("__") and name not in PUBLIC


def private_imports(tree):
    """Names of modules that are no public API, however they are reached."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Attribute):
            found = [ast.unparse(node).replace("tf.", "tensorflow.", 1).replace("tf_text.", "tensorflow_text.", 1)]
        else:
            continue
        yield from (name for name in found if name.startswith(tuple(f"{module}." for module in MODULES)))


def private_attributes(tree, own):
    """Attributes that begin with an underscore and are not this package's own."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and is_private(node.attr) and node.attr not in own:
            yield f"{ast.unparse(node)} (line {node.lineno})"
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("getattr", "hasattr", "setattr"):
            name = node.args[1]
            if isinstance(name, ast.Constant) and is_private(name.value) and name.value not in own:
                yield f"{ast.unparse(node)} (line {node.lineno})"


def sources():
    return {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text("utf-8")) for path in ROOT.rglob("*.py")}


def test_private_modules_are_imported_in_one_file():
    found = {name: set(private_imports(tree)) for name, tree in sources().items() if name != "_compat.py"}
    assert {name: modules for name, modules in found.items() if modules} == {
        name: modules for name, modules in EXCEPTIONS.items() if modules
    }


def test_private_attributes_are_read_in_one_file():
    trees = {name: tree for name, tree in sources().items() if name != "_compat.py"}
    own = own_names(trees.values())
    found = {name: list(private_attributes(tree, own)) for name, tree in trees.items()}
    assert not {name: attributes for name, attributes in found.items() if attributes}


def test_each_private_name_is_noted_with_the_version_it_was_read_in():
    text = (ROOT / "_compat.py").read_text("utf-8")
    documented = [
        ast.get_docstring(node) or ""
        for node in ast.parse(text).body
        if isinstance(node, (ast.FunctionDef, ast.ClassDef))
    ]
    for docstring in documented:
        assert any(f"{library} " in docstring for library in ("Keras", "TensorFlow", "tensorflow-text")), docstring
        assert any(character.isdigit() for character in docstring), docstring


@pytest.mark.parametrize(
    "code",
    [
        "from keras.src.utils import tree",
        "import tensorflow.python.ops",
        "tf.python.ops.control_flow_ops",
        "from tensorflow_text.core.pybinds import x",
        "model._nested()",
        "getattr(model, '_nested')",
    ],
)
def test_what_the_test_finds(code):
    tree = ast.parse(code)
    assert [*private_imports(tree), *private_attributes(tree, set())]
