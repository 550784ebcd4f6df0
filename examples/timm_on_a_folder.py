"""A timm network, trained by a loop of one's own on a folder of images, pruned, and run as ONNX: `… FOLDER`."""

import sys
from pathlib import Path

import numpy as np
import onnxruntime
import timm
import torch
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from branchfold.search import run_study

SIZE = 32
LOOK = v2.Compose([v2.Resize((SIZE, SIZE)), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])

if __name__ == "__main__":
    torch.manual_seed(0)
    folders = {part: ImageFolder(Path(sys.argv[1]) / part, LOOK) for part in ("train", "validation", "test")}
    network = timm.create_model("resnet10t", pretrained=False, num_classes=len(folders["train"].classes))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.02, momentum=0.9)
    for _ in range(4):
        for images, labels in DataLoader(folders["train"], batch_size=32, shuffle=True, drop_last=True):
            optimizer.zero_grad()
            cross_entropy(network(images), labels).backward()
            optimizer.step()
    study = {
        "study": {"name": "own-images", "budget": {"macs": 0.5}, "trials": 2},
        "trial": {"epochs": 1, "batch_size": 32},
        "search": {"finalists": 1},
    }
    result = run_study(study, network=network, data=folders, callbacks=[print])
    told = result.export("own-images.onnx", format="onnx").evaluation
    session = onnxruntime.InferenceSession("own-images.onnx")
    batches = DataLoader(folders["test"], batch_size=10)
    right = [session.run(None, {"input": x.numpy()})[0].argmax(1) == y.numpy() for x, y in batches]
    print(f"evaluate: {told.value:.4f}, onnxruntime: {np.concatenate(right).mean():.4f}")
