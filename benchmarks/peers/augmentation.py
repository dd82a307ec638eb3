"""Augmented CIFAR-10 images a second, as torchvision's documentation recommends: no training.

transforms v2 on tensors (crop of 32 after padding by 4, horizontal flip, a square of 8 x 8 blacked
out, then floats from 0 to 1), an image at a time in a ``DataLoader`` with two workers, batches of
128. A step is a batch. Prints one JSON line.

    python benchmarks/peers/augmentation.py DATA_ROOT [--epochs 1] [--workers 2]
"""

import torch
import turns
from cifar import CIFAR10
from torch.utils.data import DataLoader
from torchvision.transforms import v2


def batches(loader):
    """One epoch, a batch at a time."""
    for images, _ in loader:
        yield len(images), None


def main():
    parser = turns.parser(__doc__, epochs=1)
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)

    square = 8 * 8 / (32 * 32)
    transform = v2.Compose(
        [
            v2.ToImage(),
            v2.RandomCrop(32, padding=4),
            v2.RandomHorizontalFlip(),
            v2.RandomErasing(p=1, scale=(square, square), ratio=(1, 1), value=0),
            v2.ToDtype(torch.float32, scale=True),
        ]
    )
    data = CIFAR10(args.root, train=True, transform=transform)
    loader = DataLoader(data, batch_size=128, shuffle=True, num_workers=args.workers)
    turns.run(args, lambda: batches(loader))


if __name__ == "__main__":
    main()
