"""The methods of this package, for ``hmc demo``, lists and the loading of models; torch is not imported."""

from __future__ import annotations

from hmc_shared.methods import Method

MODEL = "mulsupcon_ld.model:MulSupCon"

METHODS = (
    Method("cld", "mulsupcon-ld train --loss cld", MODEL, demo="", demo_minutes=0.3),
    Method("rld", "mulsupcon-ld train --loss rld", MODEL),
    Method("mulsupcon", "mulsupcon-ld train --loss mulsupcon", MODEL),
    Method("any", "mulsupcon-ld train --loss any", MODEL),
    Method("all", "mulsupcon-ld train --loss all", MODEL),
    Method(
        "bce",
        "mulsupcon-ld train --loss bce",
        MODEL,
        demo="--no-coherent",
        demo_minutes=0.15,
    ),
    Method("asl", "mulsupcon-ld train --loss asl", MODEL),
    Method("lamp", "mulsupcon-ld train --loss lamp", "mulsupcon_ld.baselines:LaMP"),
    Method("mpvae", "mulsupcon-ld train --loss mpvae", "mulsupcon_ld.baselines:MPVAE"),
    Method("c-gmvae", "mulsupcon-ld train --loss c-gmvae", "mulsupcon_ld.baselines:CGMVAE"),
)
