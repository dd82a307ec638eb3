"""Judging: model and images to logits (``predictions``), logits to figures (``metrics``)."""
