"""Networks as scikit-learn's estimators: ``from convscope.sklearn import ImageClassifier``."""

from convscope.sklearn.estimator import ImageClassifier

__all__ = ["ImageClassifier"]
