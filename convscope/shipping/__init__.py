"""Leaving: what a trained network becomes outside of convscope."""
