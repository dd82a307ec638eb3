"""A data set looked through: what its owner would mend before training on it.

Nothing here changes a file. All but likely wrong labels needs neither torch nor scikit-learn.
"""
