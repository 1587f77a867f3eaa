"""A damaged image ends a training before its first epoch, or is left out, in every method of images."""

from importlib import import_module

import numpy as np
import pytest
from PIL import Image

from hmc_shared.cli.commands import EvaluateOptions
from hmc_shared.runs.evaluate import evaluate
from hmc_shared.runs.read import load_run

SMALL = {"encoder": "resnet8", "width": 4, "image_size": 8, "batch_size": 8, "dim": 8}
OPTIONS = {
    "hcal": {**SMALL, "epochs": 1},
    "mulsupcon_ld": {**SMALL, "epochs": 1, "pretrain_epochs": 1},
    "hp_dval": {"method": "coop", "student": "small", "prompt_epochs": 1, "image_size": 8},
}


@pytest.fixture
def pictures(tmp_path, monkeypatch):
    """Three splits of two classes; the folder, and a picture of each split."""
    monkeypatch.setenv("HMC_CACHE", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    for part, size in {"train": 6, "val": 3, "test": 3}.items():
        for name, grey in {"cat": 60, "dog": 180}.items():
            (tmp_path / "pictures" / part / name).mkdir(parents=True)
            for number in range(size):
                pixels = rng.normal(grey, 20, (32, 32, 3)).clip(0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(tmp_path / "pictures" / part / name / f"{number}.jpg")
    return tmp_path / "pictures"


def train(package, pictures, folder, **options):
    config = import_module(f"{package}.config").Config
    options = {"dataset": f"folder:{pictures}", "output_dir": str(folder), "workers": 0, **options}
    return import_module(f"{package}.train").train(config(**OPTIONS[package], **options))


@pytest.mark.parametrize("package", OPTIONS)
@pytest.mark.parametrize("part", ["train", "val", "test"])
def test_it_is_found_before_the_first_epoch(package, part, pictures, tmp_path):
    damaged = pictures / part / "dog" / "0.jpg"
    content = damaged.read_bytes()
    damaged.write_bytes(content[:-40])
    with pytest.raises(ValueError, match=rf"pictures: '{part}/dog/0\.jpg' cannot be decoded"):
        train(package, pictures, tmp_path / "run")
    log = tmp_path / "run" / "metrics.jsonl"
    assert not log.exists() or log.read_text() == ""
    damaged.write_bytes(content)
    assert train(package, pictures, tmp_path / "run", resume=True)["epochs"] >= 1


@pytest.mark.parametrize("package", OPTIONS)
def test_it_is_left_out_with_a_note(package, pictures, tmp_path, capsys):
    for part in ("train", "test"):
        (pictures / part / "dog" / "0.jpg").write_bytes(b"no image")
    train(package, pictures, tmp_path / "run", on_error="skip")
    note = "note: 2 images that cannot be read were left out: train/dog/0.jpg, test/dog/0.jpg"
    assert note in capsys.readouterr().err.splitlines()
    run = load_run(tmp_path / "run")
    assert len(run.ids) == 5
    metrics = evaluate(EvaluateOptions(str(tmp_path / "run"), workers=0))  # of the same images
    assert metrics["test/map"] == run.results["metrics"]["test/map"]
