"""The Kubernetes manifest has the fields that the training operator knows, and calls a recipe as it is called."""

import pathlib
import re
import sys

import pytest
import yaml

from kerasformer.training.cluster import read_cluster

PROJECT = pathlib.Path(__file__).parents[2]
JOB = yaml.safe_load((PROJECT / "deploy" / "tfjob.yaml").read_text(encoding="utf-8"))
CONTAINER = JOB["spec"]["tfReplicaSpecs"]["Worker"]["template"]["spec"]["containers"][0]


def check_fields(value, kind, models, where):
    """Every field of `value` is one of the SDK's model class `kind`, down to the leaves."""
    listed, mapped = re.fullmatch(r"list\[(.+)\]", kind), re.fullmatch(r"dict\(str, (.+)\)", kind)
    if listed or mapped:
        for key, item in enumerate(value) if listed else value.items():
            check_fields(item, (listed or mapped)[1], models, f"{where}.{key}")
    elif hasattr(models, kind):
        model = getattr(models, kind)
        names = {json: model.openapi_types[name] for name, json in model.attribute_map.items()}
        for key, item in value.items():
            assert key in names, f"{where} has no field {key}"
            check_fields(item, names[key], models, f"{where}.{key}")
    else:
        expected = {"str": str, "int": int, "bool": bool, "object": object}[kind]
        assert isinstance(value, expected), f"{where}: expected {kind}, received {value!r}"


def test_the_fields_are_those_of_the_operator():
    models = pytest.importorskip("kubeflow.training.models")
    from kubernetes.client import models as kubernetes

    class Both:
        """The operator's classes and the pods' of Kubernetes itself."""

        def __getattr__(self, name):
            return getattr(models, name, None) or getattr(kubernetes, name)

    assert (JOB["apiVersion"], JOB["kind"]) == ("kubeflow.org/v1", "TFJob")
    check_fields(JOB, "KubeflowOrgV1TFJob", Both(), "TFJob")


def test_a_wrong_field_is_found():
    models = pytest.importorskip("kubeflow.training.models")
    with pytest.raises(AssertionError, match="TFJob has no field specs"):
        check_fields({"specs": {}}, "KubeflowOrgV1TFJob", models, "TFJob")


def test_the_operator_finds_its_container_and_restarts_what_sigterm_ended():
    assert CONTAINER["name"] == "tensorflow"
    assert JOB["spec"]["tfReplicaSpecs"]["Worker"]["restartPolicy"] == "ExitCode"


def test_the_command_is_one_that_the_recipe_takes():
    import tyro

    sys.path.insert(0, str(PROJECT / "recipes"))
    try:
        import sentiment
    finally:
        sys.path.pop(0)
    python, script, *flags = CONTAINER["command"]
    assert (python, script) == ("python", "recipes/sentiment.py")
    parsed = tyro.cli(sentiment.Flags, args=flags)
    assert parsed.workdir.startswith("/data/")


def test_its_environment_is_read(monkeypatch):
    """As the operator writes it: with fields of its own, and service names for addresses."""
    names = [f"kerasformer-sentiment-worker-{i}.team.svc:2222" for i in range(4)]
    text = '{"cluster":{"worker":%s},"task":{"type":"worker","index":3},"environment":"cloud"}'
    monkeypatch.setenv("TF_CONFIG", text % str(names).replace("'", '"'))
    assert read_cluster() == (names, 3)
