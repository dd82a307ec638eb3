"""A network behind HTTP as a good engineer writes it in an afternoon: FastAPI and PyTorch.

    python benchmarks/peers/torch_server.py SCRIPT.py PORT

SCRIPT.py is a run as one plain PyTorch file, as `convscope script` writes it. Images are decoded by
Pillow, and decoded and classified by Starlette's threads, one at a time.
"""

from __future__ import annotations

import io
import runpy
import sys

import torch
import uvicorn
from fastapi import FastAPI, HTTPException, Request
from PIL import Image, ImageOps
from starlette.concurrency import run_in_threadpool

script = runpy.run_path(sys.argv[1])
network, predict, classes = script["load"](), script["predict"], script["CLASSES"]
torch.set_num_threads(2)
app = FastAPI()


def classify(data: bytes) -> list[dict[str, float | str]]:
    try:
        image = Image.open(io.BytesIO(data)).convert("L")
    except Exception as why:
        raise HTTPException(422, "this is no image") from why
    image = ImageOps.pad(image, (28, 28), Image.Resampling.BILINEAR)
    pixels = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8).view(1, 1, 28, 28)
    p, labels = predict(network, pixels)[0].topk(5)
    said = zip(labels.tolist(), p.tolist(), strict=True)
    return [{"label": classes[label], "p": value} for label, value in said]


@app.post("/predict")
async def answer(request: Request) -> dict[str, list[dict[str, float | str]]]:
    return {"top": await run_in_threadpool(classify, await request.body())}


uvicorn.run(app, port=int(sys.argv[2]), log_level="warning", access_log=False)
