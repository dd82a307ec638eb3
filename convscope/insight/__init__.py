"""Seeing: first principles (``reference``), one layer at a time (``lab``), what a network is made
of (``anatomy``) and sees (``receptive``), and pictures of images (``figures``)."""
