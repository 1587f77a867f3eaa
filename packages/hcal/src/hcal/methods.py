"""The methods of this package, for ``hmc demo``, lists and the loading of models; torch is not imported."""

from __future__ import annotations

from hmc_shared.methods import Method

METHODS = (
    Method("hcal", "hcal train", "hcal.model:HCAL", demo="--epochs 30", demo_minutes=0.5),
    Method(
        "flat",
        "hcal train --method flat",
        "hcal.model:Flat",
        demo="--epochs 30",
        demo_minutes=0.45,
    ),
    Method("mmoe", "hcal train --method mmoe", "hcal.baselines:MMoE"),
    Method("cmt", "hcal train --method cmt", "hcal.baselines:CMT"),
    Method("dmt", "hcal train --method dmt", "hcal.dmt:DMT"),
    Method("cagrad", "hcal train --method cagrad", "hcal.model:Flat"),
    Method("imtl-g", "hcal train --method imtl-g", "hcal.model:Flat"),
    Method("nash-mtl", "hcal train --method nash-mtl", "hcal.model:Flat"),
)
