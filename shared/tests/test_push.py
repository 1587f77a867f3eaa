"""`hmc push`: the card, and the files that a hub, here a folder, is given."""

from __future__ import annotations

import shutil
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard

from hmc_shared.model import load_model
from hmc_shared.runs.read import load_hierarchy


@pytest.fixture
def run(make_run, toy):
    arrays = {"train_counts": np.array([300, 150, 80, 60, 110, 9])}
    results = {"command": "toy train --seed 0", "finished": "2026-01-31T12:00:00+00:00"}
    folder = make_run("linear", arrays=arrays, results=results, dataset="my_*set*")
    torch.manual_seed(0)
    toy.LinearModel(3, load_hierarchy(folder / "hierarchy.json")).save_pretrained(folder / "model")
    return folder


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A folder in place of the hub, with a token for it."""

    class Api:
        endpoint = "https://hub"

        def create_repo(self, name: str, *, private: bool, exist_ok: bool) -> None:
            (tmp_path / "hub" / name).mkdir(parents=True, exist_ok=exist_ok)
            (tmp_path / "hub" / "private").write_text(str(private))

        def upload_folder(self, *, repo_id: str, folder_path: Path, commit_message: str) -> None:
            shutil.copytree(folder_path, tmp_path / "hub" / repo_id, dirs_exist_ok=True)

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: "token")
    return tmp_path / "hub"


def test_what_was_uploaded_is_the_model(run, hub, hmc, capsys):
    assert hmc("push", run, "me/plants", "--private") == 0
    assert capsys.readouterr().out == "https://hub/me/plants\n"
    assert (hub / "private").read_text() == "True"
    inputs = torch.randn(5, 3)
    expected = load_model(run).predict_proba(inputs)
    assert torch.equal(load_model(hub / "me" / "plants").predict_proba(inputs), expected)
    assert hmc("push", run, "me/plants") == 0  # the same once more


def test_the_card_says_all_of_it(run, hub, hmc):
    assert hmc("push", run, "me/plants") == 0
    card = ModelCard.load(hub / "me" / "plants" / "README.md")
    assert card.data.library_name == "toy"
    found = {result.metric_type: result.metric_value for result in card.data.eval_results}
    assert 0 < found["au_prc"] < 1
    assert "map_classes" not in found
    assert card.data.eval_results[0].dataset_name == "my_*set*"
    text = card.text
    for part in (
        "## Intended use",
        "vectors of 3 features: 6 in 3 levels",
        f"| `au_prc` | {found['au_prc']:.4f} | Area under",
        "400 train, 90 validation, 60 test samples",
        "animal, plant, cat, dog, tree, poodle",
        "* 1 of 6 classes have fewer than 20 training samples.",
        "Finished: 2026-01-31T12:00:00+00:00",
        "```\ntoy train --seed 0\n```",
        'snapshot_download("me/plants")',
        "`pip install toy`",
        r"my\_\*set\*",
    ):
        assert part in text, part


def test_a_licence_is_that_of_who_trained(run, hub, hmc):
    assert hmc("push", run, "me/plants") == 0
    assert ModelCard.load(hub / "me" / "plants" / "README.md").data.license is None
    assert hmc("push", run, "me/plants", "--license", "cc-by-4.0") == 0
    assert ModelCard.load(hub / "me" / "plants" / "README.md").data.license == "cc-by-4.0"


def test_a_dry_run_lists_the_files_and_uploads_none(run, hub, hmc, capsys):
    assert hmc("push", run, "me/plants", "--dry-run") == 0
    out, err = capsys.readouterr()
    files = ["README.md", "config.json", "decision.json", "model.safetensors"]
    assert [line.split()[1] for line in out.splitlines()] == files
    assert "## Limits" in (run / "model" / "README.md").read_text(encoding="utf-8")
    assert err == f"wrote {run / 'model' / 'README.md'}\n"
    assert not hub.exists()


def one_error(capsys) -> str:
    (line,) = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("wrote")]
    return line


def test_without_a_token_nothing_is_written(run, hub, hmc, capsys, monkeypatch):
    before = (run / "model" / "README.md").read_bytes()
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    assert hmc("push", run, "me/plants") == 2
    assert "a token that may write: `hf auth login`, or set HF_TOKEN" in one_error(capsys)
    assert (run / "model" / "README.md").read_bytes() == before
    assert hmc("push", run, "me/plants", "--dry-run") == 0


def test_a_hub_that_is_not_reached_is_one_line(run, hub, hmc, capsys, monkeypatch):
    def refused(*_: object, **__: object) -> None:
        raise OSError("no route\nto the host")

    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", refused)
    assert hmc("push", run, "me/plants") == 2
    assert one_error(capsys) == "hmc: error: me/plants was not uploaded: no route to the host"


@pytest.mark.parametrize("name", ["plants", "me/plants/more", "me/--", "me/pl ants"])
def test_another_name_is_refused(run, hub, hmc, capsys, name):
    assert hmc("push", run, name) == 2
    assert "OWNER/NAME" in one_error(capsys)


def test_a_run_without_a_model_is_refused(make_run, hub, hmc, capsys):
    assert hmc("push", make_run("hiclass"), "me/plants") == 2
    assert "has no trained model" in one_error(capsys)
