"""Seeing: first principles (``reference``), one layer at a time (``lab``), what a network is made
of and its units see (``anatomy``), and pictures of images (``figures``)."""
