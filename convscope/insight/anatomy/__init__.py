"""What a network is made of.

A forward pass on shapes alone (``trace``) leaves a ``record``, which falls into ``steps``; what its
operators multiply (``counting``), why their outputs have their shapes (``shapes``) and what their
units see (``receptive_field``) makes ``rows`` of them, and these a ``summary``, which is folded
(``folding``), told in words (``text``), drawn (``layout``, ``drawing``, ``strokes``) and put on a
page (``page``).
"""

from convscope.insight.anatomy.record import Failure
from convscope.insight.anatomy.rows import Row, total
from convscope.insight.anatomy.setting import weightless
from convscope.insight.anatomy.summary import (
    Given,
    Summary,
    inputs_of,
    is_image,
    receptive_fields,
    summarise,
)
