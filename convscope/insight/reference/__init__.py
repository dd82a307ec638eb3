"""Convolution, pooling and their like from first principles, with NumPy alone.

Every operator is there twice: ``conv2d_loops`` reads like its formula, ``conv2d`` computes the same
with whole arrays. Both take the arguments of the ONNX operator under its names, and give what it
gives: ``X`` is ``[N,C,H,W]``. How windows move is said as in :func:`axes_of`: ``pads`` (0) is the
begin of every axis, then the end (top, left, bottom, right); beside it stand ``strides`` (1),
``dilations`` (1) and a pool's ``ceil_mode`` (False). What is one number counts for both axes;
``pads`` of two numbers is that many a side of each axis. ``auto_pad`` is ``VALID``, ``SAME_UPPER``
(the odd pixel below and to the right; ``SAME`` is the same) or ``SAME_LOWER`` (above and to the
left). Whole numbers are computed in float64, floats in their own precision. Gradients
(``*_backward``) are those of a sum that weighs the outputs by ``dY``.

- ``windows``: where windows lie, and how many there are
- ``convolution``: ``corr2d``, ``conv2d``; ``learn_kernel`` finds a kernel by gradient descent
- ``max_pooling``, ``average_pooling``: of windows and of whole maps
- ``layers``: batch normalisation, linear, softmax, cross-entropy
"""

from convscope.insight.reference.average_pooling import (
    average_pool2d,
    average_pool2d_backward,
    average_pool2d_backward_loops,
    average_pool2d_loops,
    global_average_pool2d,
    global_average_pool2d_backward,
    global_average_pool2d_backward_loops,
    global_average_pool2d_loops,
)
from convscope.insight.reference.convolution import (
    Learnt,
    conv2d,
    conv2d_backward,
    conv2d_backward_loops,
    conv2d_loops,
    corr2d,
    corr2d_loops,
    learn_kernel,
)
from convscope.insight.reference.layers import (
    batch_norm,
    batch_norm_loops,
    cross_entropy,
    cross_entropy_loops,
    gemm,
    gemm_loops,
    linear,
    linear_backward,
    linear_backward_loops,
    linear_loops,
    softmax,
    softmax_loops,
)
from convscope.insight.reference.max_pooling import (
    global_max_pool2d,
    global_max_pool2d_backward,
    global_max_pool2d_backward_loops,
    global_max_pool2d_loops,
    max_pool2d,
    max_pool2d_backward,
    max_pool2d_backward_loops,
    max_pool2d_indices,
    max_pool2d_indices_loops,
    max_pool2d_loops,
)
from convscope.insight.reference.windows import Axis, axes_of
