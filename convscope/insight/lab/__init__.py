"""Experiments with one layer at a time, for `convscope lab`; NumPy does the arithmetic, and nothing
here needs torch.

- ``inputs``: numbers, kernels and pictures as they are typed
- ``sliding``: a kernel or a pool that moves over an image, step by step
- ``counting``: what a 1x1 convolution saves
- ``stack``: what a unit sees through a stack of layers
- ``drawing``, ``page``: PNG and GIF, HTML
"""
