"""Where images lie: what the last layer sees of them, in two dimensions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from convscope.evaluation.hooks import hooked
from convscope.events import Emit, silent
from convscope.insight.explain.map_layers import batches

KEPT = 50  # principal components that the discriminants are sought in


def features_of(network: nn.Module, images: np.ndarray, emit: Emit = silent) -> np.ndarray:
    """What the last linear layer takes of images uint8 [N,C,H,W], float32 [N,D]; of a network that
    has none the logits."""
    linear = {name: m for name, m in network.named_modules() if isinstance(m, nn.Linear)}
    features: list[np.ndarray] = []
    taken: list[Tensor] = []

    def seen(name: str, module: nn.Module, given: tuple[Tensor, ...], output: object) -> None:
        taken.append(given[0].detach())

    with hooked(dict(list(linear.items())[-1:]), seen), torch.no_grad():
        for inputs in batches(images, "features", emit):
            taken.clear()
            logits = network(inputs)
            flat = taken[-1] if taken and taken[-1].ndim == 2 else logits
            features.append(flat.float().numpy())
    return np.concatenate(features)


@dataclass(frozen=True)
class Plane:
    """Images in two dimensions: ``points`` [N,2], which ``method`` put them there, and ``among``,
    the share that lies where most of its nearest neighbours are of its own class; ``shares`` of the
    variance that either axis of principal components explains."""

    points: np.ndarray
    method: str
    among: float
    shares: tuple[float, float] | None = None


def plane(features: np.ndarray, labels: np.ndarray) -> Plane:
    """Features [N,D] in two dimensions, by principal components or by linear discriminants, which
    are found on every second image: whichever leaves more of the other images among their own
    class.

    >>> random = np.random.default_rng(0)
    >>> points = random.normal(0, 0.1, (40, 3)) + np.repeat([[0, 0, 0], [5, 5, 0]], 20, axis=0)
    >>> plane(points, np.repeat([0, 1], 20)).among
    1.0
    """
    components, shares = principal(features, KEPT)
    first = components[:, :2]
    if first.shape[1] < 2:  # a single feature
        first = np.pad(first, ((0, 0), (0, 2 - first.shape[1])))
    explained = (float(shares[0]), float(shares[1]) if len(shares) > 1 else 0.0)
    found = Plane(first, "principal components (PCA)", among(first, labels), explained)
    if components.shape[1] > 2 and len(np.unique(labels[::2])) > 2:
        other = discriminants(components, labels)
        near = among(other, labels)
        if near > found.among:
            return Plane(other, "linear discriminants (LDA)", near)
    return found


def principal(features: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Principal components of features [N,D]: coordinates [N,count], and the share of the variance
    that each explains.

    >>> points, share = principal(np.array([[0.0, 0.0], [3.0, 0.0], [6.0, 1e-9]]), 1)
    >>> points.shape, bool(share[0] > 0.999)
    ((3, 1), True)
    """
    centred = torch.from_numpy(np.asarray(features, np.float64))
    centred = centred - centred.mean(dim=0)
    narrow = centred if centred.shape[1] <= centred.shape[0] else centred.T
    values, vectors = torch.linalg.eigh(narrow.T @ narrow)  # of the smaller side
    values = values.flip(0).clamp_min(0)
    vectors = vectors.flip(1)[:, :count]
    share = (values / values.sum().clamp_min(1e-30)).numpy()[:count]
    points = centred @ vectors if narrow is centred else vectors * values[:count].sqrt()
    found: np.ndarray = points.numpy()
    return found, share


def discriminants(components: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Coordinates [N,2] of components [N,d] along the two directions in which the classes lie
    furthest apart for how wide they are (Fisher's linear discriminants), from every second
    image."""
    from scipy.linalg import eigh

    fitted, names = components[::2], labels[::2]
    within = np.zeros((fitted.shape[1],) * 2)
    between = np.zeros_like(within)
    for label in np.unique(names):
        own = fitted[names == label]
        centre = own.mean(axis=0)
        within += (own - centre).T @ (own - centre)
        centre = centre - fitted.mean(axis=0)
        between += len(own) * np.outer(centre, centre)
    within += np.eye(len(within)) * max(1e-3 * np.trace(within) / len(within), 1e-12)
    _, directions = eigh(between, within)
    found: np.ndarray = components @ directions[:, ::-1][:, :2]
    return found


def among(points: np.ndarray, labels: np.ndarray, neighbours: int = 15) -> float:
    """The share of every other image, from the second on, of whose nearest neighbours among the
    rest most are of its own class."""
    from scipy.spatial import cKDTree

    tree = cKDTree(points[::2])
    k = min(neighbours, len(points[::2]))
    _, near = tree.query(points[1::2], k=k)
    near = near.reshape(len(points[1::2]), k)
    votes = labels[::2][near]
    most = [np.bincount(row).argmax() for row in votes]
    return float((np.array(most) == labels[1::2]).mean()) if most else 1.0
