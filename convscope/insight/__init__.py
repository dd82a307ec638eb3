"""Seeing: first principles (``reference``), one layer at a time (``lab``), what a network is made
of and its units see (``anatomy``), what a trained one has learnt (``explain``), and pictures of
images (``figures``)."""
