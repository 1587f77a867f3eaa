"""Small CLUS sets, written to a folder of the test, and the files of CIFAR-100."""

import gzip
import os
import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

PATHS = "01,01/02,01/02/03,02,02/01"
ROWS = {
    "train": ["1,?,red,4,01/02/03", "2,0.5,blue,4,02/01@01", "?,-1e3,?,4,02"],
    "valid": ["3,?,red,5,01/02", "4,7,red,4,02/01"],
    "test": ["5,1,blue,4,01@02", "?,2,red,6,01/02/03"],
}
HEADER = """@RELATION 'toy'

@ATTRIBUTE first numeric
@attribute 'the second' REAL
@ATTRIBUTE colour {red, blue,green}
@ATTRIBUTE constant\tnumeric
@ATTRIBUTE class  hierarchical CLASSES
% a comment
@DATA
"""  # so the first row stands in line 10


@pytest.fixture
def write_set(tmp_path: Path) -> Callable[..., dict[str, Path]]:
    """A function that writes the files of a set: part -> path. ``rows`` replaces those of some parts."""

    def write(
        name: str = "toy",
        rows: dict[str, list[str]] | None = None,
        *,
        parts: tuple[str, ...] = ("train", "valid", "test"),
        classes: str = PATHS,
        pattern: str = "{name}.{part}.arff",
        folder: Path = tmp_path,
    ) -> dict[str, Path]:
        folder.mkdir(parents=True, exist_ok=True)
        files = {}
        for part in parts:
            lines = (rows or {}).get(part, ROWS[part])
            text = HEADER.replace("CLASSES", classes) + "\n".join(lines) + "\n"
            files[part] = folder / pattern.format(name=name, part=part)
            compress = gzip.compress if files[part].suffix == ".gz" else bytes
            files[part].write_bytes(compress(text.encode()))
        return files

    return write


@pytest.fixture(scope="session")
def official_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The official files: those below HMC_DATA, else made by the tool beside it."""
    data = Path(os.environ["HMC_DATA"])
    for pattern in ("", "*/", "*/*/"):
        for meta in data.glob(f"{pattern}cifar-100-python/meta"):
            return meta.parents[1]
    tool = data.parent / "tools" / "cifar100_official.py"
    if not tool.is_file():
        pytest.skip("needs cifar-100-python below HMC_DATA, or the tool that makes it")
    folder = tmp_path_factory.mktemp("cifar100")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [str(tool), str(folder)])
        runpy.run_path(str(tool), run_name="__main__")
    return folder
