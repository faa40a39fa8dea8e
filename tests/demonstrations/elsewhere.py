"""Train a torchvision model on a folder of class folders, with plain PyTorch: what somebody has before bench.

python elsewhere.py FOLDER ARCHITECTURE SIZE EPOCHS FILE
"""

import sys

import torch
import torchvision
from torchvision import transforms

folder, architecture, size, epochs, file = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5]
torch.manual_seed(0)
mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
fixed = [transforms.Resize(size), transforms.CenterCrop(size), transforms.ToTensor(), transforms.Normalize(mean, std)]
images = torchvision.datasets.ImageFolder(folder, transforms.Compose([transforms.RandomHorizontalFlip(), *fixed]))
batches = torch.utils.data.DataLoader(images, batch_size=32, shuffle=True, drop_last=True)
model = torchvision.models.get_model(architecture, num_classes=len(images.classes))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
steps = epochs * len(batches)
schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=steps, pct_start=0.2)
right = seen = 0
for _ in range(epochs):
    right = seen = 0
    for pixels, labels in batches:
        logits = model(pixels)
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(logits, labels).backward()
        optimizer.step()
        schedule.step()
        right, seen = right + int((logits.argmax(1) == labels).sum()), seen + len(labels)
torch.save(model.state_dict(), file)
print(
    f"{architecture}, {len(images.classes)} classes, {len(images)} images, {steps} steps: {right / seen:.3f} at the end"
)
