"""Images that occur twice, in words."""

from __future__ import annotations

from collections.abc import Iterator

from bench.data.files.names import shown
from bench.data.stages.splits import Split


def twice_in_words(split: Split) -> Iterator[str]:
    """Say which parts of a split have images in common, and how many are left out because of that."""
    for twice in split.duplicates:
        one, other = twice.examples[0]
        yield f"{twice.count} images of {twice.other} are in {twice.one} too, such as {shown(other)} = {shown(one)}"
    if split.dropped_validation:
        yield f"{split.dropped_validation} validation images are test images too, and left out of validation"
    if split.dropped:
        yield f"{split.dropped} training images are held out too, and left out of training"
