"""The network of the published 94 % CIFAR-10 speed record, 500 images forward and backward.

Written afresh from its description (Jordan 2024, arXiv 2404.00498, and its project page): a frozen
2x2 whitening convolution to 24 channels with a bias, GELU; three blocks (64, 256, 256) of
3x3 convolution, 2x2 max-pool, batch norm, GELU, 3x3 convolution, batch norm, GELU; 3x3 max-pool; a
linear layer whose output is scaled by 1/9. Batch norms learn a bias and no weight, convolutions
begin as partial identities. One batch of 500, eager, channels-last; an epoch is the 10 batches that
are kept in memory. In bfloat16 everything but the batch norms is bfloat16, as it is half precision
in the record. ``--precision auto`` times both on this machine and takes the faster. There is no
optimiser step. Prints one JSON line.

    python benchmarks/peers/record.py DATA_ROOT [--precision auto|float32|bfloat16] [--epochs 1]
"""

import time

import torch
import turns
from cifar import CIFAR10
from torch import nn

BATCH, BATCHES = 500, 10
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class BatchNorm(nn.BatchNorm2d):
    """Learns a bias; its weight stays one. Its running statistics move fast."""

    def __init__(self, channels):
        super().__init__(channels, eps=1e-12, momentum=0.4)
        self.weight.requires_grad = False


def convolution(in_channels, out_channels):
    """3x3 and no bias; its first filters hand their input through."""
    conv = nn.Conv2d(in_channels, out_channels, kernel_size=3, padding="same", bias=False)
    with torch.no_grad():
        nn.init.dirac_(conv.weight[:in_channels])
    return conv


def block(in_channels, out_channels):
    return nn.Sequential(
        convolution(in_channels, out_channels),
        nn.MaxPool2d(2),
        BatchNorm(out_channels),
        nn.GELU(),
        convolution(out_channels, out_channels),
        BatchNorm(out_channels),
        nn.GELU(),
    )


def whitening(images):
    """A 2x2 convolution whose outputs are the images' principal patch components at unit variance,
    each once with either sign."""
    patches = images.unfold(2, 2, 1).unfold(3, 2, 1)  # [N,3,31,31,2,2]
    flat = patches.permute(0, 2, 3, 1, 4, 5).reshape(-1, 12)
    values, vectors = torch.linalg.eigh(flat.T @ flat / len(flat))  # ascending
    filters = (vectors / (values + 5e-4).sqrt()).T.flip(0).reshape(12, 3, 2, 2)
    conv = nn.Conv2d(3, 24, kernel_size=2)
    with torch.no_grad():
        conv.weight.copy_(torch.cat([filters, -filters]))
        conv.bias.zero_()
    conv.weight.requires_grad = False
    return conv


class RecordNet(nn.Module):
    def __init__(self, images):
        super().__init__()
        self.whiten = nn.Sequential(whitening(images), nn.GELU())  # [B,24,31,31]
        self.block1 = block(24, 64)  # [B,64,15,15]
        self.block2 = block(64, 256)  # [B,256,7,7]
        self.block3 = block(256, 256)  # [B,256,3,3]
        self.pool = nn.MaxPool2d(3)
        self.head = nn.Linear(256, 10, bias=False)

    def forward(self, x):
        x = self.block3(self.block2(self.block1(self.whiten(x))))
        return self.head(self.pool(x).flatten(1)) / 9


def prepared(images, precision):
    """The network and a criterion in this precision."""
    model = RecordNet(images).to(DTYPES[precision], memory_format=torch.channels_last)
    for module in model.modules():
        if isinstance(module, BatchNorm):
            module.float()
    return model.train()


def step(model, inputs, labels):
    """Forward and backward."""
    model.zero_grad(set_to_none=True)
    logits = model(inputs).float()
    loss = nn.functional.cross_entropy(logits, labels, label_smoothing=0.2, reduction="sum")
    loss.backward()
    return loss


def train(model, batches):
    """One pass over the batches, a step at a time."""
    for inputs, labels in batches:
        yield len(inputs), step(model, inputs, labels)


def faster(images, labels, few=50):
    """The precision in which a step of a few images takes less time here."""
    seconds = {}
    for precision, dtype in DTYPES.items():
        model = prepared(images[:few], precision)
        inputs = images[:few].to(dtype, memory_format=torch.channels_last)
        step(model, inputs, labels[:few])
        took = []
        for _ in range(2):
            began = time.perf_counter()
            step(model, inputs, labels[:few])
            took.append(time.perf_counter() - began)
        seconds[precision] = min(took)
    return min(seconds, key=seconds.get)


def main():
    parser = turns.parser(__doc__, epochs=1)
    parser.add_argument("--precision", choices=["auto", *DTYPES], default="auto")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)

    data = CIFAR10(args.root, train=True)
    pixels = torch.from_numpy(data.data[: BATCH * BATCHES]).permute(0, 3, 1, 2)
    mean = torch.tensor([0.4914, 0.4822, 0.4465]).view(3, 1, 1)
    std = torch.tensor([0.2470, 0.2435, 0.2616]).view(3, 1, 1)
    images = (pixels / 255 - mean) / std
    labels = torch.tensor(data.targets[: BATCH * BATCHES])

    precision = faster(images, labels) if args.precision == "auto" else args.precision
    model = prepared(images, precision)
    inputs = images.to(DTYPES[precision], memory_format=torch.channels_last)
    batches = list(zip(inputs.split(BATCH), labels.split(BATCH), strict=True))
    turns.run(
        args,
        lambda: train(model, batches),
        parameters=sum(p.numel() for p in model.parameters()),
        trained=sum(p.numel() for p in model.parameters() if p.requires_grad),
        precision=precision,
    )


if __name__ == "__main__":
    main()
