"""What a trained network has learnt, looked at from inside: filters, maps, what units answer to,
input that maximises a class, heat maps with their doubts, and where images lie.

:func:`overview` is the short of it, for a report.
"""

from convscope.insight.explain.overview import Overview, overview
