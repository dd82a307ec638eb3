"""Experiments with one layer at a time, for `convscope lab`; NumPy does the arithmetic, and nothing
here needs torch."""
