"""Prediction without PyTorch: images are fitted to a network's size, a function turns their pixels
into logits, and logits become calibrated probabilities by the names of classes.

``inputs`` is the first step, ``predictor`` the others, with the function as an argument: whatever
computes a network's logits is a provider. Nothing here imports torch.
"""
