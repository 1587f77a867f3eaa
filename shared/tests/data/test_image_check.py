"""Images that cannot be decoded are found when a data set is loaded, in every split and format."""

import io
import json
import os
from collections.abc import Callable
from pathlib import Path

import datasets
import numpy as np
import pytest
from PIL import Image

from hmc_shared.data import HierarchicalDataset, load_dataset
from hmc_shared.data.formats.hf_export import export

Encode = Callable[..., bytes]
PARTS = {"train": 8, "val": 3, "test": 3}


def damage(content: bytes, kind: str) -> bytes:
    match kind:
        case "truncated":
            return content[:-60]
        case "empty":
            return b""
        case "text":
            return b"<html>not found</html>"
        case _:  # what other libraries write, and Pillow shows black
            file = io.BytesIO()
            Image.fromarray(np.full((8, 8), 2.5, np.float32)).save(file, "TIFF")
            return file.getvalue()


@pytest.fixture(params=["folder", "labels", "hf"])
def plant(request: pytest.FixtureRequest, tmp_path: Path, encode: Encode) -> Callable[[dict[str, str]], str]:
    """A function that writes three splits of two classes, some images damaged, and names the data set.

    Images are called after split, class and number, such as train-a-0.
    """

    def write(kinds: dict[str, str]) -> str:
        root = tmp_path / "things"
        labels: dict[str, dict[str, list[str]]] = {}
        rows: dict[str, list[dict[str, object]]] = {}
        for part, size in PARTS.items():
            for label in "ab":
                for number in range(size):
                    name = f"{part}-{label}-{number}"
                    pixels = np.random.default_rng(number).integers(0, 255, (16, 16, 3)).astype(np.uint8)
                    content = encode(pixels, "jpeg")
                    content = damage(content, kinds[name]) if name in kinds else content
                    below = f"{part}/{label}/" if request.param == "folder" else f"{part}/"
                    (root / below).mkdir(parents=True, exist_ok=True)
                    (root / below / f"{name}.jpg").write_bytes(content)
                    labels.setdefault(part, {})[f"{name}.jpg"] = [label]
                    rows.setdefault(part, []).append(
                        {"image": {"bytes": content, "path": None}, "class": label}
                    )
        if request.param == "hf":
            features = datasets.Features(
                {"image": datasets.Image(decode=False), "class": datasets.Value("string")}
            )
            parts = {part: datasets.Dataset.from_list(of, features=features) for part, of in rows.items()}
            parts = {part: of.cast_column("image", datasets.Image()) for part, of in parts.items()}
            datasets.DatasetDict(parts).save_to_disk(str(tmp_path / "saved"))
            return f"hf:{tmp_path / 'saved'}"
        (root / "labels.json").write_text(json.dumps(labels))
        if request.param == "folder":
            (root / "labels.json").unlink()
        return f"{request.param}:{root}"

    return write


def load(name: str, **options: object) -> HierarchicalDataset:
    return load_dataset(name, levels="class" if name.startswith("hf:") else None, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("kind", ["truncated", "empty", "text", "float"])
def test_it_is_refused_by_name_in_every_split(plant: Callable[..., str], part: str, kind: str) -> None:
    name = plant({f"{part}-b-1": kind})
    source, _, path = name.partition(":")
    expected = rf"{part}-{PARTS[part] + 1}" if source == "hf" else rf"{part}/(b/)?{part}-b-1\.jpg"
    with pytest.raises(ValueError, match=rf"^{path}: '{expected}' \S[^\n]+ `--on-error skip`\.$"):
        load(name)


def test_all_can_be_skipped(plant: Callable[..., str]) -> None:
    whole = load(plant({}))
    name = plant({"train-a-2": "truncated", "val-b-0": "text", "test-a-0": "empty"})
    dataset = load(name, on_error="skip")
    assert [len(split) for split in dataset.splits.values()] == [15, 5, 5]
    assert dataset.notes[-1].startswith("3 images that cannot be read were left out: train")
    for part, split in dataset.splits.items():
        before = whole.splits[part]
        kept = [before.ids.index(sample) for sample in split.ids]
        assert sorted(kept) == kept
        assert split.targets.equal(before.targets[kept])
        assert all(split.inputs[row].shape == (3, 16, 16) for row in range(len(split)))


def test_a_split_of_which_none_is_left(plant: Callable[..., str]) -> None:
    name = plant({f"val-{label}-{number}": "text" for label in "ab" for number in range(3)})
    with pytest.raises(ValueError, match="no image of the validation split can be read"):
        load(name, on_error="skip")


@pytest.mark.parametrize("workers", [0, 2])
def test_each_image_is_decoded_once(
    plant: Callable[..., str], workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = plant({"train-a-2": "truncated"})
    first = load(name, on_error="skip", workers=workers)
    with monkeypatch.context() as patch:
        patch.setattr("hmc_shared.data.image_check.find_unreadable", None)
        assert load(name, on_error="skip").train.ids == first.train.ids
        with pytest.raises(ValueError, match="cannot be decoded"):
            load(name)
    assert len(load(plant({})).train) == 16 if not name.startswith("hf:") else True  # mended: looked at again


def test_a_choice_is_checked() -> None:
    with pytest.raises(ValueError, match=r"`on_error` should be 'refuse' or 'skip'. Found 'ignore'"):
        load_dataset("digits", on_error="ignore")  # type: ignore[arg-type]


def test_what_is_exported_can_be_read(plant: Callable[..., str], tmp_path: Path) -> None:
    dataset = load(plant({"train-a-2": "truncated"}), on_error="skip")
    export(dataset, tmp_path / "exported")
    back = load_dataset(f"hf:{tmp_path / 'exported'}")
    assert (back.train.ids, back.notes) == (dataset.train.ids, dataset.notes)
    (file,) = (tmp_path / "exported" / "train").glob("*.arrow")
    content = file.read_bytes()
    start = content.index(dataset.train.inputs.encoded(0))
    file.write_bytes(content[:start] + bytes(300) + content[start + 300 :])
    os.utime(file)
    with pytest.raises(ValueError, match=rf"exported/train: '{dataset.train.ids[0]}' is not an image"):
        load_dataset(f"hf:{tmp_path / 'exported'}")
