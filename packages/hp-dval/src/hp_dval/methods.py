"""The methods of this package, for ``hmc demo``, lists and the loading of models; torch is not imported."""

from __future__ import annotations

from hmc_shared.methods import Method

METHODS = (
    Method("hp-dval", "hp-dval train", "hp_dval.model:HPDVAL", demo="", demo_minutes=0.6),
    Method("no-sc", "hp-dval train --method no-sc", "hp_dval.model:HPDVAL"),
    Method("dval", "hp-dval train --method dval", "hp_dval.model:HPDVAL"),
    Method("joint", "hp-dval train --method joint", "hp_dval.model:HPDVAL"),
    Method("coop", "hp-dval train --method coop", "hp_dval.baselines:ClipClassifier"),
    Method("cocoop", "hp-dval train --method cocoop", "hp_dval.cocoop:CoCoOp"),
    Method("dualcoop", "hp-dval train --method dualcoop", "hp_dval.dualcoop:DualCoOp"),
    Method("tai-dpt", "hp-dval train --method tai-dpt", "hp_dval.tai_dpt:TaIDPT"),
    Method("lmpt", "hp-dval train --method lmpt", "hp_dval.baselines:ClipClassifier"),
    Method("zero-shot", "hp-dval train --method zero-shot", "hp_dval.baselines:ClipClassifier"),
    Method("prototypes", "hp-dval train --method prototypes", "hp_dval.baselines:ClipClassifier"),
    Method("plain", "hp-dval train --method plain", "hp_dval.plain:PlainClassifier"),
    Method("ml-gcn", "hp-dval train --method ml-gcn", "hp_dval.ml_gcn:MLGCN"),
    Method("bbn", "hp-dval train --method bbn", "hp_dval.bbn:BBN"),
)
