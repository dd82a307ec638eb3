"""System A as it was published: a first CNN on MNIST, written afresh from its description.

torchvision's MNIST with ``ToTensor``, ``DataLoader`` of 100, fp32, Adam 1e-3; 5 epochs and ReLU are
assumed where the tutorial is silent. Prints one JSON line: seconds of training, and test accuracy.

    python benchmarks/peers/system_a.py DATA_ROOT [--epochs 5] [--threads 2] [--seed 0]
"""

import argparse
import json
import time

import torch
import torchvision
from torch import nn
from torch.utils.data import DataLoader
from torchvision.transforms import ToTensor


class ConvNet(nn.Module):
    """Two stages of convolution, batch norm, ReLU and pooling, then one linear layer."""

    def __init__(self):
        super().__init__()
        self.layer1 = nn.Sequential(
            nn.Conv2d(1, 16, kernel_size=5, padding=2),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.layer2 = nn.Sequential(
            nn.Conv2d(16, 32, kernel_size=5, padding=2),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.fc = nn.Linear(7 * 7 * 32, 10)

    def forward(self, x):
        out = self.layer2(self.layer1(x))
        return self.fc(out.reshape(out.size(0), -1))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("root")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)

    train = torchvision.datasets.MNIST(args.root, train=True, transform=ToTensor())
    test = torchvision.datasets.MNIST(args.root, train=False, transform=ToTensor())
    train_loader = DataLoader(train, batch_size=100, shuffle=True)
    test_loader = DataLoader(test, batch_size=100)

    model = ConvNet()
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

    began = time.perf_counter()
    for _ in range(args.epochs):
        for images, labels in train_loader:
            loss = criterion(model(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    trained = time.perf_counter() - began

    model.eval()
    correct = 0
    with torch.no_grad():
        for images, labels in test_loader:
            correct += (model(images).argmax(1) == labels).sum().item()
    print(
        json.dumps(
            {
                "train_seconds": trained,
                "eval_seconds": time.perf_counter() - began - trained,
                "accuracy": correct / len(test),
            }
        )
    )


if __name__ == "__main__":
    main()
