"""Prediction without PyTorch: images are fitted to a network's size, a function turns their pixels
into logits, and logits become calibrated probabilities by the names of classes.

``inputs`` is the first step (``tables`` reads lists of files), ``predictor`` the others, with the
function as an argument: whatever computes a network's logits is a provider; ``records`` is the same
for several inputs and targets. All is a stream: any number of images takes the same memory.
``listing`` makes it a CSV. Nothing here imports torch.
"""
