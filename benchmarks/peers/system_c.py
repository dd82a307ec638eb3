"""System C as it was published: a CNN on MNIST in Keras, written afresh from its description.

Keras on TensorFlow, ``model.fit`` with Adam and categorical cross-entropy, batches of 128, 15
epochs, a tenth held out for validation. Prints one JSON line: seconds of ``fit``, test loss and
accuracy. Reads ``DATA_ROOT/mnist.npz``, the file that ``keras.datasets.mnist`` reads. A turn is one
``fit`` over so many batches, each the next piece of the training images (and the first call after
start-up, which compiles, is a warm-up). It costs some 0.05 s beyond its steps, hardly more than an
epoch of the published ``fit`` does, and is not validated.

    python benchmarks/peers/system_c.py DATA_ROOT [--epochs 15] [--threads 2] [--seed 0]
"""

import json
import os
import time
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import tensorflow as tf
import turns
from keras import layers

BATCH = 128


def load(path):
    """MNIST as floats [N,28,28,1] and one-hot labels [N,10]."""
    with np.load(path) as f:
        x_train, y_train, x_test, y_test = (
            f[name] for name in ("x_train", "y_train", "x_test", "y_test")
        )
    x_train = np.expand_dims(x_train.astype("float32") / 255, -1)
    x_test = np.expand_dims(x_test.astype("float32") / 255, -1)
    y_train = keras.utils.to_categorical(y_train, 10)
    y_test = keras.utils.to_categorical(y_test, 10)
    return x_train, y_train, x_test, y_test


def build():
    model = keras.Sequential(
        [
            keras.Input(shape=(28, 28, 1)),
            layers.Conv2D(32, kernel_size=(3, 3), activation="relu"),
            layers.MaxPooling2D(pool_size=(2, 2)),
            layers.Conv2D(64, kernel_size=(3, 3), activation="relu"),
            layers.MaxPooling2D(pool_size=(2, 2)),
            layers.Flatten(),
            layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(loss="categorical_crossentropy", optimizer="adam", metrics=["accuracy"])
    return model


def pieces(model, x, y):
    """``advance(n)``: fit on the next n batches; where the images end they begin again."""
    at = 0

    def advance(steps):
        nonlocal at
        images, last = 0, len(x) - len(x) % BATCH
        while steps:
            end = min(at + steps * BATCH, last)
            history = model.fit(x[at:end], y[at:end], batch_size=BATCH, epochs=1, verbose=0)
            steps -= (end - at) // BATCH
            images += end - at
            at = end % last
        return {"images": images, "loss": history.history["loss"][-1]}

    return advance


def main():
    args = turns.parser(__doc__, epochs=15).parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(args.threads)
    tf.config.threading.set_inter_op_parallelism_threads(args.threads)
    keras.utils.set_random_seed(args.seed)

    x_train, y_train, x_test, y_test = load(Path(args.root) / "mnist.npz")
    model = build()
    about = {
        "parameters": model.count_params(),
        "versions": {"keras": keras.__version__, "tensorflow": tf.__version__},
    }

    def evaluate():
        return model.evaluate(x_test, y_test, verbose=0)[1], len(x_test)

    if args.turns:
        turns.serve(pieces(model, x_train, y_train), evaluate, **about)
        return
    began = time.perf_counter()
    history = model.fit(
        x_train, y_train, batch_size=BATCH, epochs=args.epochs, validation_split=0.1, verbose=0
    )
    trained = time.perf_counter()
    loss, accuracy = model.evaluate(x_test, y_test, verbose=0)
    print(
        json.dumps(
            {
                "train_seconds": trained - began,
                "eval_seconds": time.perf_counter() - trained,
                "accuracy": accuracy,
                "test_loss": loss,
                "val_accuracy_by_epoch": history.history["val_accuracy"],
                "peak_bytes": turns.peak_bytes(),
                **about,
            }
        )
    )


if __name__ == "__main__":
    main()
