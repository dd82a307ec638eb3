"""Images a second from a folder of JPEGs, a subfolder a class: no training.

torchvision's ``ImageFolder`` with Resize(256), CenterCrop(224) and ToTensor, a ``DataLoader`` with
two workers, batches of 32. The first epoch counts from listing the folder on; a later one reads and
decodes every file again. Prints one JSON line.

    python benchmarks/peers/folder.py FOLDER [--workers 2]
"""

import json
import time

import torch
import turns
from torch.utils.data import DataLoader
from torchvision import datasets, transforms


def open_folder(root, workers):
    transform = transforms.Compose(
        [transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor()]
    )
    data = datasets.ImageFolder(root, transform=transform)
    return DataLoader(data, batch_size=32, shuffle=True, num_workers=workers)


def epoch(loader):
    """How many images of which shape one epoch gives."""
    count = 0
    for images, _ in loader:
        count += len(images)
    return {"images": count, "shape": list(images.shape[1:])}


def main():
    parser = turns.parser(__doc__, epochs=1)
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)

    if args.turns:
        loader = open_folder(args.root, args.workers)
        turns.serve(
            verbs={
                "first": lambda _: epoch(open_folder(args.root, args.workers)),
                "later": lambda _: epoch(loader),
            }
        )
        return
    began = time.perf_counter()
    loader = open_folder(args.root, args.workers)
    found = epoch(loader)
    first = time.perf_counter()
    epoch(loader)
    later = time.perf_counter()
    print(json.dumps({**found, "first_seconds": first - began, "later_seconds": later - first}))


if __name__ == "__main__":
    main()
