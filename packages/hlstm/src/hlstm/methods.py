"""The methods of this package, for ``hmc demo``, lists and the loading of models; torch is not imported."""

from __future__ import annotations

from hmc_shared.methods import Method

METHODS = (
    Method("hlstm", "hlstm train", "hlstm.model:HLSTM", demo="", demo_minutes=0.4),
    Method(
        "chmcnn",
        "hlstm train --method chmcnn",
        "hlstm.baselines:CHMCNN",
        demo="",
        demo_minutes=0.2,
    ),
    Method("dhn", "hlstm train --method dhn", "hlstm.baselines:DHN"),
    Method("clus-ens", "hlstm train --method clus-ens", "hlstm.forest:Forest"),
    Method("chmc-lstm", "hlstm train --method chmc-lstm", "hlstm.baselines:CHMCLSTM"),
    Method("hmcn-r", "hlstm train --method hmcn-r", "hlstm.baselines:HMCNR"),
    Method("hmcn-f", "hlstm train --method hmcn-f", "hlstm.baselines:HMCNF"),
    Method("hmcn-chmc", "hlstm train --method hmcn-chmc", "hlstm.baselines:HMCNCHMC"),
    Method("hmc-lmlp", "hlstm train --method hmc-lmlp", "hlstm.baselines:HMCLMLP"),
)
