"""torchvision's own CIFAR-10 data set, without its check sums."""

from torchvision import datasets


class CIFAR10(datasets.CIFAR10):
    """Reads ``DATA_ROOT/cifar-10-batches-py`` as torchvision does: unpickled arrays, a PIL image
    made of each when it is asked for. Any copy of the images will do, in whatever order, so that
    the files written by ``benchmarks/copies.py`` are taken as the official ones are."""

    train_list = tuple((name, None) for name, _ in datasets.CIFAR10.train_list)
    test_list = tuple((name, None) for name, _ in datasets.CIFAR10.test_list)
    meta = datasets.CIFAR10.meta | {"md5": None}
