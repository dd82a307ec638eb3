"""System A as it was published: a first CNN on MNIST, written afresh from its description.

torchvision's MNIST with ``ToTensor``, ``DataLoader`` of 100, fp32, Adam 1e-3; 5 epochs and ReLU are
assumed where the tutorial is silent. Prints one JSON line: seconds of training, and test accuracy.

    python benchmarks/peers/system_a.py DATA_ROOT [--epochs 5] [--threads 2] [--seed 0]
"""

import torch
import torchvision
import turns
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


def train(model, loader, criterion, optimizer):
    """One epoch, a step at a time."""
    model.train()
    for images, labels in loader:
        loss = criterion(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield len(images), loss


def test(model, loader):
    """Accuracy, and how many images were judged."""
    model.eval()
    correct, total = 0, 0
    with torch.no_grad():
        for images, labels in loader:
            correct += (model(images).argmax(1) == labels).sum().item()
            total += len(labels)
    model.train()
    return correct / total, total


def main():
    args = turns.parser(__doc__, epochs=5).parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)

    train_data = torchvision.datasets.MNIST(args.root, train=True, transform=ToTensor())
    test_data = torchvision.datasets.MNIST(args.root, train=False, transform=ToTensor())
    train_loader = DataLoader(train_data, batch_size=100, shuffle=True)
    test_loader = DataLoader(test_data, batch_size=100)

    model = ConvNet()
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    turns.run(
        args,
        lambda: train(model, train_loader, criterion, optimizer),
        lambda: test(model, test_loader),
        parameters=sum(p.numel() for p in model.parameters()),
    )


if __name__ == "__main__":
    main()
