"""The service of the page "Serve a model", laid out and started as its Dockerfile says, without docker."""

import ast
import json
import shlex
import shutil
import socket
import subprocess
import sys
import time
from http.client import HTTPException as NoAnswer
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import numpy as np
import pytest

from hlstm.build import load_model
from hlstm.config import Config
from hlstm.train import train
from hmc_shared.data import load_dataset

SERVE = Path(__file__).parents[3] / "docs" / "how-to" / "serve"
STEPS = [line.split(maxsplit=1) for line in (SERVE / "Dockerfile").read_text(encoding="utf-8").splitlines()]


def steps(name: str) -> list[str]:
    return [rest for word, rest in STEPS if word == name]


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    """The folder of the image: what COPY puts there, with a trained model as its context."""
    context, app = tmp_path_factory.mktemp("context"), tmp_path_factory.mktemp("app")
    train(Config(epochs=1, hidden_size=8, output_dir=str(context / "run")))
    shutil.copytree(context / "run" / "model", context / "model")
    shutil.copy(SERVE / "service.py", context)
    for line in steps("COPY"):
        source, target = line.split()
        path = context / source
        copy = shutil.copytree if path.is_dir() else shutil.copy
        copy(path, app / target)
    return app


@pytest.fixture(scope="module")
def address(app):
    pytest.importorskip("fastapi")
    pytest.importorskip("uvicorn")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (words,) = map(json.loads, steps("CMD"))
    words[words.index("0.0.0.0")], words[words.index("8000")] = "127.0.0.1", str(port)
    server = subprocess.Popen([sys.executable, "-m", *words], cwd=app, stderr=subprocess.PIPE)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.communicate(timeout=30)


def post(address: str, inputs: object) -> tuple[int, object]:
    body = json.dumps({"inputs": inputs}).encode()
    request = Request(f"{address}/predict", body, {"Content-Type": "application/json"})
    for _ in range(300):  # until it has started
        try:
            with urlopen(request, timeout=60) as answer:
                return answer.status, json.load(answer)
        except HTTPError as error:
            with error:
                return error.code, json.load(error)
        except (URLError, NoAnswer, ConnectionError):
            time.sleep(0.2)
    raise AssertionError("the service did not start")


def test_it_answers_as_the_model_does(app, address):
    model, raw = load_model(app / "model"), load_dataset("digits").test.inputs[:3].clone()
    raw[0, 3] = np.nan
    rows = [[None if np.isnan(value) else value for value in row] for row in raw.tolist()]
    status, answers = post(address, rows)
    assert status == 200
    names = model.hierarchy.names
    for answer, p, labels in zip(answers, model.predict_proba(raw), model.predict(raw), strict=True):
        assert list(answer["probabilities"]) == list(names)
        np.testing.assert_allclose([*answer["probabilities"].values()], p, atol=1e-6)
        assert answer["classes"] == [names[i] for i in labels.nonzero().flatten().tolist()]


def test_wrong_inputs_are_said(address):
    status, answer = post(address, [[1.0, 2.0]])
    assert (status, answer["detail"]) == (422, "the inputs should have shape (n, 64). Found (1, 2).")
    assert post(address, [["a"] * 64])[0] == 422
    assert post(address, [[1.0], [1.0, 2.0]])[0] == 422


def test_the_image_has_what_the_service_imports_and_starts():
    (run,), (words,) = steps("RUN"), map(json.loads, steps("CMD"))
    installed = {word for word in shlex.split(run) if word.isidentifier()} - {"pip", "install"}
    assert words[0] in installed
    tree = ast.parse((SERVE / "service.py").read_text(encoding="utf-8"))
    modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    modules |= {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    assert modules - set(sys.stdlib_module_names) <= {"numpy", "hmc_shared"} | installed  # hlstm brings both
    assert words[1] == "service:app"
    assert shlex.split(run)[-2:] == ["--extra-index-url", "https://download.pytorch.org/whl/cpu"]
