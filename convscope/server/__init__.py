"""A network behind HTTP, without PyTorch: FastAPI over whatever computes logits.

From a request to its answer: ``connection`` reads it and bounds how long that takes, ``limits``
refuses what is too large or comes from elsewhere, ``app`` has the routes, ``uploads`` and
``protocol`` make images of a body, ``batching`` computes many requests at once, ``repository``
holds the models and replaces one whose file has changed. ``studio`` is another application behind
the same guard: pages over the run folders below a root. Nothing here imports torch.
"""
