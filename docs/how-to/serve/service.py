"""The model in the folder `model` as a service: POST /predict takes rows of raw inputs."""

from typing import Annotated, Any

import numpy as np
from fastapi import Body, FastAPI, HTTPException

from hmc_shared import load_model

model = load_model("model")
names = model.hierarchy.names
app = FastAPI(title=f"{len(names)} classes by {model.method}")


@app.post("/predict")
def predict(inputs: Annotated[list[Any], Body(embed=True)]) -> list[dict[str, Any]]:
    """The predicted classes of each row, and the probability of every class."""
    try:
        raw = np.array(inputs, np.uint8 if model.takes_images else np.float32)  # null becomes NaN
        probabilities, labels = model.predict_proba(raw), model.predict(raw)
    except (OverflowError, TypeError, ValueError) as error:
        raise HTTPException(422, str(error)) from error
    return [
        {
            "classes": [names[i] for i in row.nonzero().flatten()],
            "probabilities": dict(zip(names, p.tolist(), strict=True)),
        }
        for row, p in zip(labels, probabilities, strict=True)
    ]
