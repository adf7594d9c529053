import json
import urllib.error
import urllib.request

import pytest
import small_models

CONFIG = """
model_config_list {
  config { name: "small" base_path: "/models/small" version_labels { key: "stable" value: 1 } }
}
"""


@pytest.fixture(scope="session")
def saved(tmp_path_factory):
    """A base folder with versions 1 and 2 of the model `small`, a label, and things that are no versions."""
    base = tmp_path_factory.mktemp("savedmodels")
    small_models.save(base / "small" / "1", "one")
    small_models.save(base / "small" / "2", "two")
    (base / "small" / "12.tmp").mkdir()
    (base / "small" / "README.md").write_text("no version")
    (base / "notes").mkdir()
    (base / "models.config").write_text(CONFIG)
    return base


@pytest.fixture(scope="session")
def server(saved):
    from kerasformer.serving.preview import PreviewServer

    with PreviewServer(saved, rest_port=0, grpc_port=0, max_body_bytes=1 << 20) as server:
        yield server


@pytest.fixture(scope="session")
def rest(server):
    """`rest(path, body=None)` → (HTTP status, decoded JSON); a body is posted, as JSON unless it is bytes."""

    def ask(path, body=None, method=None, headers=None):
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        url = f"http://127.0.0.1:{server.rest_port}{path}"
        request = urllib.request.Request(url, body, headers or {}, method=method)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=30) as response:
                return response.status, json.loads(response.read())
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read())

    return ask
