"""Pixels in: names and files become packs, packs become batches.

What makes and opens packs (``sources``, ``folder``, ``decode``, ``pack`` and their like) needs
NumPy and Pillow only; what turns them into batches (``augment``, ``loader``) needs PyTorch.
"""
