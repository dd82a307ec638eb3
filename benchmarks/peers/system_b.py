"""System B as it was published: Inception and residual networks on MNIST, written afresh from
their description.

torchvision's MNIST with ``ToTensor`` and ``Normalize(0.1307, 0.3081)``, ``DataLoader`` of 64, fp32,
SGD 0.01 over 10 epochs, with momentum 0.5 for Inception; that the residual network sees the same
normalised images, and no momentum, is assumed. Prints one JSON line: seconds of training, and test
accuracy.

    python benchmarks/peers/system_b.py DATA_ROOT --model inception|resnet [--epochs 10]
"""

import torch
import torch.nn.functional as F
import turns
from torch import nn
from torch.utils.data import DataLoader
from torchvision import datasets, transforms


class InceptionA(nn.Module):
    """Four branches side by side, joined on the channels: 16 + 24 + 24 + 24 = 88."""

    def __init__(self, in_channels):
        super().__init__()
        self.branch1x1 = nn.Conv2d(in_channels, 16, kernel_size=1)

        self.branch5x5_1 = nn.Conv2d(in_channels, 16, kernel_size=1)
        self.branch5x5_2 = nn.Conv2d(16, 24, kernel_size=5, padding=2)

        self.branch3x3_1 = nn.Conv2d(in_channels, 16, kernel_size=1)
        self.branch3x3_2 = nn.Conv2d(16, 24, kernel_size=3, padding=1)
        self.branch3x3_3 = nn.Conv2d(24, 24, kernel_size=3, padding=1)

        self.branch_pool = nn.Conv2d(in_channels, 24, kernel_size=1)

    def forward(self, x):
        branch1x1 = self.branch1x1(x)
        branch5x5 = self.branch5x5_2(self.branch5x5_1(x))
        branch3x3 = self.branch3x3_3(self.branch3x3_2(self.branch3x3_1(x)))
        branch_pool = self.branch_pool(F.avg_pool2d(x, kernel_size=3, stride=1, padding=1))
        return torch.cat([branch1x1, branch5x5, branch3x3, branch_pool], dim=1)


class InceptionNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 10, kernel_size=5)
        self.incep1 = InceptionA(10)
        self.conv2 = nn.Conv2d(88, 20, kernel_size=5)
        self.incep2 = InceptionA(20)
        self.mp = nn.MaxPool2d(2)
        self.fc = nn.Linear(1408, 10)

    def forward(self, x):
        x = F.relu(self.mp(self.conv1(x)))
        x = self.incep1(x)
        x = F.relu(self.mp(self.conv2(x)))
        x = self.incep2(x)
        return self.fc(x.flatten(1))


class ResidualBlock(nn.Module):
    """x + F(x): two convolutions that learn what to add."""

    def __init__(self, channels):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, kernel_size=3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, kernel_size=3, padding=1)

    def forward(self, x):
        y = self.conv2(F.relu(self.conv1(x)))
        return F.relu(x + y)


class ResNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, kernel_size=5)
        self.rblock1 = ResidualBlock(16)
        self.conv2 = nn.Conv2d(16, 32, kernel_size=5)
        self.rblock2 = ResidualBlock(32)
        self.mp = nn.MaxPool2d(2)
        self.fc = nn.Linear(512, 10)

    def forward(self, x):
        x = F.relu(self.mp(self.conv1(x)))
        x = self.rblock1(x)
        x = F.relu(self.mp(self.conv2(x)))
        x = self.rblock2(x)
        return self.fc(x.flatten(1))


def train(model, loader, criterion, optimizer):
    """One epoch, a step at a time."""
    model.train()
    for inputs, target in loader:
        optimizer.zero_grad()
        loss = criterion(model(inputs), target)
        loss.backward()
        optimizer.step()
        yield len(inputs), loss


def test(model, loader):
    """Accuracy, and how many images were judged."""
    model.eval()
    correct, total = 0, 0
    with torch.no_grad():
        for inputs, target in loader:
            _, predicted = torch.max(model(inputs), dim=1)
            total += target.size(0)
            correct += (predicted == target).sum().item()
    model.train()
    return correct / total, total


def main():
    parser = turns.parser(__doc__, epochs=10)
    parser.add_argument("--model", choices=["inception", "resnet"], required=True)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)

    transform = transforms.Compose(
        [transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))]
    )
    train_data = datasets.MNIST(args.root, train=True, transform=transform)
    test_data = datasets.MNIST(args.root, train=False, transform=transform)
    train_loader = DataLoader(train_data, batch_size=64, shuffle=True)
    test_loader = DataLoader(test_data, batch_size=64, shuffle=False)

    model = InceptionNet() if args.model == "inception" else ResNet()
    criterion = nn.CrossEntropyLoss()
    momentum = 0.5 if args.model == "inception" else 0
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=momentum)
    turns.run(
        args,
        lambda: train(model, train_loader, criterion, optimizer),
        lambda: test(model, test_loader),
        parameters=sum(p.numel() for p in model.parameters()),
    )


if __name__ == "__main__":
    main()
