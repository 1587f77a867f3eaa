"""What the documentation shows, pictures and outputs of commands, made from short runs on embedded data."""

import shutil
import subprocess
from pathlib import Path

COMMANDS = """\
hmc datasets digits --plot digits.svg > digits.txt
hlstm train --dataset digits > hlstm.txt
hlstm train --dataset digits --method chmcnn > chmcnn.txt
hcal train --dataset digits --epochs 8 > hcal.txt
mulsupcon-ld train --dataset digits --pretrain-epochs 20 --epochs 10 > cld.txt

hmc compare runs/digits --output comparison > comparison.txt
hcal plot runs/digits/hcal/seed-0 --output hcal > plot.txt
mulsupcon-ld explain runs/digits/cld/seed-0 --output degrees.png > degrees.txt
"""


def make_figures(folder: Path) -> None:
    """Run the commands in ``folder``, each paragraph at once; not again, unless the folder is deleted."""
    done = folder / "commands.txt"
    if done.is_file() and done.read_text(encoding="utf-8") == COMMANDS:
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for paragraph in COMMANDS.split("\n\n"):
        lines = paragraph.splitlines()
        running = [
            subprocess.Popen(line, cwd=folder, shell=True, stderr=subprocess.PIPE, text=True)
            for line in lines
        ]
        for line, process in zip(lines, running, strict=True):
            _, errors = process.communicate()
            if process.returncode:
                raise RuntimeError(f"{line}\n{errors}")
    done.write_text(COMMANDS, encoding="utf-8")
