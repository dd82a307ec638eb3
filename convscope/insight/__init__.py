"""Seeing: what a network is made of (``anatomy``), and pictures of images (``figures``)."""
