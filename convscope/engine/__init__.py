"""The network made fast here: layers in the algorithm that is fastest, passes over memory fused,
formats chosen by measuring."""
