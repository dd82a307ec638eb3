"""A ResNet-18 for 32-pixel images, trained as plainly as PyTorch allows.

He et al. 2016 as commonly adapted to CIFAR: a 3x3 stem of stride 1 and no max-pool, widths 64, 128,
256, 512, a 1x1 projection where the shape changes; 11,173,962 parameters for 10 classes. Eager,
fp32, contiguous, batches of 128 that lie in memory as floats already, SGD with momentum 0.9 and
weight decay 5e-4. An epoch here is the 20 batches that are kept. Prints one JSON line.

    python benchmarks/peers/resnet18.py DATA_ROOT [--epochs 1] [--threads 2] [--seed 0]
"""

import torch
import torch.nn.functional as F
import turns
from cifar import CIFAR10
from torch import nn

BATCH, BATCHES = 128, 20


class BasicBlock(nn.Module):
    def __init__(self, in_channels, channels, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut = nn.Sequential()
        if stride != 1 or in_channels != channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, channels, 1, stride=stride, bias=False),
                nn.BatchNorm2d(channels),
            )

    def forward(self, x):
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return F.relu(out + self.shortcut(x))


class ResNet18(nn.Module):
    def __init__(self, num_classes=10):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = nn.Sequential(BasicBlock(64, 64, 1), BasicBlock(64, 64, 1))
        self.layer2 = nn.Sequential(BasicBlock(64, 128, 2), BasicBlock(128, 128, 1))
        self.layer3 = nn.Sequential(BasicBlock(128, 256, 2), BasicBlock(256, 256, 1))
        self.layer4 = nn.Sequential(BasicBlock(256, 512, 2), BasicBlock(512, 512, 1))
        self.linear = nn.Linear(512, num_classes)

    def forward(self, x):
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.layer4(self.layer3(self.layer2(self.layer1(out))))
        out = F.adaptive_avg_pool2d(out, 1).flatten(1)
        return self.linear(out)


def train(model, batches, criterion, optimizer):
    """One pass over the batches, a step at a time."""
    model.train()
    for inputs, targets in batches:
        optimizer.zero_grad()
        loss = criterion(model(inputs), targets)
        loss.backward()
        optimizer.step()
        yield len(inputs), loss


def main():
    args = turns.parser(__doc__, epochs=1).parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)

    data = CIFAR10(args.root, train=True)
    pixels = torch.from_numpy(data.data[: BATCH * BATCHES]).permute(0, 3, 1, 2)
    mean = torch.tensor([0.4914, 0.4822, 0.4465]).view(3, 1, 1)
    std = torch.tensor([0.2470, 0.2435, 0.2616]).view(3, 1, 1)
    images = ((pixels / 255 - mean) / std).contiguous()
    labels = torch.tensor(data.targets[: BATCH * BATCHES])
    batches = list(zip(images.split(BATCH), labels.split(BATCH), strict=True))

    model = ResNet18()
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    turns.run(
        args,
        lambda: train(model, batches, criterion, optimizer),
        parameters=sum(p.numel() for p in model.parameters()),
    )


if __name__ == "__main__":
    main()
