"""The README's lines, for every image that validation.txt lists with its class: does plain PyTorch get what the record says?"""

import json
from pathlib import Path

import torch
import torchvision
from PIL import Image, ImageOps
from safetensors.torch import load_file

card = json.loads(Path("updated/model.json").read_text())
model = torchvision.models.get_model(card["architecture"], num_classes=len(card["classes"]))
model.load_state_dict(load_file("updated/model.safetensors"))
model.eval()
right, rows = 0, [line.split("\t") for line in Path("validation.txt").read_text(encoding="utf-8").splitlines()]
for file, name in rows:
    image, size = Image.open(file), card["image_size"]
    image.draft("RGB", (2 * size, 2 * size))
    image = ImageOps.exif_transpose(image).convert("RGB")
    image = ImageOps.fit(image, (size, size), Image.Resampling.BILINEAR)
    pixels = torchvision.transforms.functional.to_tensor(image)
    pixels = torchvision.transforms.functional.normalize(pixels, card["mean"], card["std"])
    with torch.inference_mode():
        right += card["classes"][int(model(pixels[None]).argmax())] == name
print(f"{right} of {len(rows)} validation images right: {right / len(rows):.6f}")
print(f"the record of {card['strategy']}: {card['validation_accuracy']:.6f}")
if right / len(rows) != card["validation_accuracy"]:
    raise SystemExit("they differ")
