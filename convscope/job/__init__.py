"""A resolved recipe with its data and its network, from the first batch to the report.

- ``prepare``: data and network, which stands its trial
- ``tune``: number format, memory format, algorithms of layers; what memory and time allow
- ``complete``: training, judging, pages; ``calibrate``: what validation says of answers
- ``run_metadata``: what the run folder says of it
"""
