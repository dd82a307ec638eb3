"""System E as it was published: a CNN on CIFAR-10, written afresh from its description.

torchvision's CIFAR-10 with ``ToTensor`` and ``Normalize(0.5, 0.5)``, ``DataLoader`` of 32, fp32,
SGD 0.001 with momentum 0.9, 10 epochs; padding 1 follows from its 8192 features, Normalize and
shuffling are assumed. Prints one JSON line: seconds of training without the tests between epochs,
and test accuracy by epoch.

    python benchmarks/peers/system_e.py DATA_ROOT [--epochs 10] [--threads 2] [--seed 0]
"""

import torch
import turns
from cifar import CIFAR10
from torch import nn
from torch.utils.data import DataLoader
from torchvision import transforms


class CifarCNN(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 32, kernel_size=3, padding=1)
        self.act1 = nn.ReLU()
        self.drop1 = nn.Dropout(0.3)

        self.conv2 = nn.Conv2d(32, 32, kernel_size=3, padding=1)
        self.act2 = nn.ReLU()
        self.pool2 = nn.MaxPool2d(2)

        self.flat = nn.Flatten()
        self.fc3 = nn.Linear(8192, 512)
        self.act3 = nn.ReLU()
        self.drop3 = nn.Dropout(0.5)

        self.fc4 = nn.Linear(512, 10)

    def forward(self, x):
        x = self.drop1(self.act1(self.conv1(x)))
        x = self.pool2(self.act2(self.conv2(x)))
        x = self.flat(x)
        x = self.drop3(self.act3(self.fc3(x)))
        return self.fc4(x)


def train(model, loader, loss_fn, optimizer):
    """One epoch, a step at a time."""
    model.train()
    for inputs, labels in loader:
        loss = loss_fn(model(inputs), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield len(inputs), loss


def test(model, loader):
    """Accuracy, and how many images were judged."""
    model.eval()
    correct, total = 0, 0
    with torch.no_grad():
        for inputs, labels in loader:
            correct += (model(inputs).argmax(1) == labels).sum().item()
            total += len(labels)
    model.train()
    return correct / total, total


def main():
    args = turns.parser(__doc__, epochs=10).parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)

    transform = transforms.Compose(
        [transforms.ToTensor(), transforms.Normalize((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))]
    )
    train_data = CIFAR10(args.root, train=True, transform=transform)
    test_data = CIFAR10(args.root, train=False, transform=transform)
    train_loader = DataLoader(train_data, batch_size=32, shuffle=True)
    test_loader = DataLoader(test_data, batch_size=32)

    model = CifarCNN()
    loss_fn = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.001, momentum=0.9)
    turns.run(
        args,
        lambda: train(model, train_loader, loss_fn, optimizer),
        lambda: test(model, test_loader),
        test_every_epoch=True,
        parameters=sum(p.numel() for p in model.parameters()),
    )


if __name__ == "__main__":
    main()
