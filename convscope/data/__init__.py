"""Pixels in: names and files become packs, packs become batches.

``sources``, ``decode`` and ``pack`` need NumPy and Pillow only; ``augment`` and ``loader`` need
PyTorch.
"""
