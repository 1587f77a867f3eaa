"""JSON files that others write about images: COCO, iNaturalist, MegaDetector, SpeciesNet.

``labels:PATH`` reads them: each gives images and the paths of their classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hmc_shared.data.dataset import HierarchicalDataset
from hmc_shared.data.formats.cells import MISSING
from hmc_shared.data.formats.taxonomy import Parts, labels_of_paths, parts_of_path
from hmc_shared.data.image_dataset import image_dataset
from hmc_shared.data.split_names import parts_of, split_of
from hmc_shared.data.storage.sources import check_text, path_below, read_json
from hmc_shared.messages import reason, some

READER_VERSION = 1
RANKS = ("kingdom", "phylum", "class", "order", "family", "genus")
"""Of a category of iNaturalist, above its name."""
MIN_CONFIDENCE = 0.2
"""Detections of MegaDetector below it are none, as in its own tools."""

ImagePaths = dict[str, list[Parts]]
"""Image to the paths of its classes."""


def find_json(path: Path) -> list[Path]:
    """The file itself, or those of a folder that are named after splits, as train2019.json; else none."""
    if path.is_dir():
        return sorted(file for file in path.glob("*.json") if split_of(_split_name(file)))
    return [path] if path.suffix.lower() == ".json" and path.is_file() else []


def load_files(files: Sequence[Path]) -> HierarchicalDataset:
    """A data set of the images that files in one folder name, which lie below that folder.

    Several files are splits by their names; images of the file train2017.json may lie in the folder
    train2017. Missing splits are sampled.

    Raises ValueError, naming the file, for damaged JSON or one of another form, an image outside the folder
    or given twice, and for a missing or damaged image.
    """
    root = files[0].parent.resolve()
    part_of, notes = {files[0].stem: "all"}, list[str]()
    if len(files) > 1:
        by_name, notes = parts_of([_split_name(file) for file in files], root)
        part_of = {file.stem: by_name[_split_name(file)] for file in files if _split_name(file) in by_name}
    parts: dict[str, ImagePaths] = {}
    sources: dict[str, str] = {}
    for file in files:
        if file.stem in part_of:
            content, digest = read_json(file)
            images, more = read_images(content, file)
            _add(parts.setdefault(part_of[file.stem], {}), images, file)
            notes, sources = [*notes, *more], sources | digest
    every = [paths for images in parts.values() for paths in images.values()]
    hierarchy, labels, more = labels_of_paths(every, str(files[0]), lambda _: str(files[0]))
    rest = iter(labels)
    return image_dataset(
        root.name,
        root,
        {part: {image: next(rest) for image in images} for part, images in parts.items()},
        hierarchy,
        reader=f"json {READER_VERSION}",
        sources=sources,
        notes=[*notes, *more],
    )


def _split_name(file: Path) -> str:
    return file.stem.removeprefix("instances_")


def _add(images: ImagePaths, more: Mapping[str, list[Parts]], file: Path) -> None:
    below = f"{_split_name(file)}/" if (file.parent / _split_name(file)).is_dir() else ""
    for name, paths in more.items():
        at = name if (file.parent / name).is_file() else f"{below}{name}"
        if at in images:
            raise ValueError(f"{file}: the image {at!r} should be given once. Found again.")
        images[at] = paths


def read_images(content: Any, file: Path) -> tuple[ImagePaths, list[str]]:
    """Images and the paths of their classes, by the keys that the file has; and notes.

    Raises ValueError, naming the file, for one of another form.
    """
    keys = set(content) if isinstance(content, dict) else set[str]()
    readers = {
        "categories": of_coco,
        "detection_categories": of_megadetector,
        "predictions": of_speciesnet,
    }
    reader = next((reader for key, reader in readers.items() if key in keys), None)
    if reader is None:
        raise ValueError(
            f"{file} should be of COCO or iNaturalist (images, annotations, categories), of MegaDetector "
            f"(images, detection_categories) or of SpeciesNet (predictions). Found {some(sorted(keys))}."
        )
    try:
        images, notes = reader(content)
        for paths in images.values():
            for name in {name for path in paths for name in path}:
                check_text(name, file)
    except (AttributeError, KeyError, TypeError, IndexError) as error:
        what = reader.__name__.removeprefix("of_")
        raise ValueError(
            f"{file} is not of the form {what}: {type(error).__name__} {reason(error)}"
        ) from error
    except ValueError as error:
        raise ValueError(f"{file}: {reason(error).removeprefix(f'{file}: ')}") from error
    return {path_below(image, file): paths for image, paths in images.items()}, notes


def category_path(category: Mapping[str, Any]) -> Parts:
    """A category of COCO below its supercategory, of iNaturalist below its ranks; or by itself."""
    name = category["name"].strip()
    above = [category[rank] for rank in RANKS if rank in category] or [category.get("supercategory")]
    path = [part.strip() for part in above if isinstance(part, str) and part.strip().lower() not in MISSING]
    return tuple(path) if path[-1:] == [name] else (*path, name)


def of_coco(content: dict[str, Any]) -> tuple[ImagePaths, list[str]]:
    """COCO, iNaturalist and COCO Camera Traps: the categories of the annotations of each image."""
    path_of = {category["id"]: category_path(category) for category in content["categories"]}
    name_of = {image["id"]: image["file_name"] + "" for image in content["images"]}
    images: ImagePaths = {name: [] for name in name_of.values()}
    for annotation in content["annotations"]:
        paths, path = images[name_of[annotation["image_id"]]], path_of[annotation["category_id"]]
        if path not in paths:
            paths.append(path)
    return images, []


def of_megadetector(content: dict[str, Any]) -> tuple[ImagePaths, list[str]]:
    """The first class of each detection that is confident enough, or what was detected.

    Classes are taxa where the file describes them as SpeciesNet does, else names below the detected category.
    """
    kinds, names = content["detection_categories"], content.get("classification_categories") or {}
    taxa = content.get("classification_category_descriptions") or {}
    images: ImagePaths = {}
    failed: list[str] = []
    for image in content["images"]:
        if image.get("detections") is None:
            failed.append(image["file"] + "")
            continue
        paths = images.setdefault(image["file"] + "", [])
        for detection in image["detections"]:
            if detection["conf"] < MIN_CONFIDENCE:
                continue
            path = (kinds[detection["category"]] + "",)
            if classes := detection.get("classifications"):
                best = max(classes, key=lambda pair: pair[1])[0]
                path = parts_of_path(taxa[best], ";") if taxa.get(best) else (*path, names[best] + "")
            if path and path not in paths:
                paths.append(path)
    return images, _left_out(failed)


def of_speciesnet(content: dict[str, Any]) -> tuple[ImagePaths, list[str]]:
    """The prediction for each image; without one, the first class of the classifier."""
    images: ImagePaths = {}
    failed: list[str] = []
    for image in content["predictions"]:
        answer = image.get("prediction")
        if answer is None:
            answer = next(iter((image.get("classifications") or {}).get("classes", [])), None)
        if answer is None:
            failed.append(image["filepath"] + "")
        else:
            images[image["filepath"] + ""] = [path] if (path := parts_of_path(answer, ";")) else []
    return images, _left_out(failed)


def _left_out(images: Sequence[str]) -> list[str]:
    return [f"images left out, without an answer: {some(images)}"] if images else []
