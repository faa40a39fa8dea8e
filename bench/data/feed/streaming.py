"""Pixels that stay in a memory map: gathered batch by batch, ahead of time, on a separate thread."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from bench.data.images import ImageRows, Pixels, in_chunks, take

# Where training reads its pixels: "auto" decides by `fits`.
Residence = Literal["auto", "resident", "streamed"]
_AHEAD = 3  # batches


def fits(pixels: Pixels, image_bytes: int, residence: Residence, device: torch.device) -> bool:
    """Return whether all images are kept on the device, rather than streamed batch by batch.

    image_bytes: the memory they take there. With residence "auto", images are resident on a GPU if they take at most half
    of its memory. On the CPU, arrays in memory are resident and memory-mapped files are streamed: the system's page
    cache holds what fits, and gives it back when others need it.
    """
    if residence != "auto":
        return residence == "resident"
    if device.type == "cuda":
        return 2 * image_bytes <= torch.cuda.mem_get_info(device)[1]
    return not isinstance(pixels, ImageRows)


def lay_on(device: torch.device, pixels: Pixels, indices: np.ndarray) -> Tensor:
    """Copy the images at `indices` to the device, uint8 (images, height, width, channels), without a second copy on the host."""
    laid = torch.empty((len(indices), *pixels.shape[1:]), dtype=torch.uint8, device=device)
    start = 0
    for chunk in in_chunks(pixels, indices):
        laid[start : start + len(chunk)] = torch.from_numpy(chunk)
        start += len(chunk)
    return laid


class Ahead:
    """Gathers batches ahead of time, in the order given, and hands out each once.

    Up to three batches wait. A few may be gathered while the clock is stopped for an evaluation, just as a few gathered
    on the clock still wait when it stops. For a GPU they go into pinned memory, so that the copy does not block the host.
    """

    def __init__(self, pixels: Pixels, batches: Sequence[np.ndarray], device: torch.device) -> None:
        self._pixels = pixels
        self._batches = batches
        self._device = device
        self._ready: queue.Queue[Tensor | BaseException] = queue.Queue()
        self._free: queue.Queue[tuple[Tensor, torch.cuda.Event | None] | None] = queue.Queue()
        longest = max((len(batch) for batch in batches), default=0)
        for _ in range(min(_AHEAD, len(batches))):
            shape = (longest, *pixels.shape[1:])
            self._free.put((torch.empty(shape, dtype=torch.uint8, pin_memory=device.type == "cuda"), None))
        self._taken = 0
        self._held: Tensor | None = None  # on the CPU, the buffer that the last batch is read from
        self._thread = threading.Thread(target=self._gather, name="bench-ahead", daemon=True)
        self._thread.start()

    def next(self, indices: np.ndarray | None = None) -> Tensor:
        """Return the next batch on the device, uint8 (batch, height, width, channels); `indices`, if given, must be its.

        On the CPU it is a buffer, valid until the next call.
        """
        expected = self._batches[self._taken]
        if indices is not None and not np.array_equal(indices, expected):
            raise AssertionError("the requested batch is not the one gathered ahead")
        self._taken += 1
        if self._held is not None:
            self._free.put((self._held, None))
        buffer = self._ready.get()
        if isinstance(buffer, BaseException):
            raise buffer
        if self._device.type == "cpu":
            self._held = buffer
            return buffer[: len(expected)]
        batch = buffer[: len(expected)].to(self._device, non_blocking=True)
        copied = torch.cuda.Event()
        copied.record(torch.cuda.current_stream(self._device))
        self._free.put((buffer, copied))
        return batch

    def close(self) -> None:
        """Stop the thread and drop what was gathered."""
        self._free.put(None)
        while self._thread.is_alive():
            self._thread.join(timeout=0.1)

    def _gather(self) -> None:
        try:
            for batch in self._batches:
                slot = self._free.get()
                if slot is None:
                    return
                buffer, copied = slot
                if copied is not None:
                    copied.synchronize()  # the GPU may still be reading the buffer's last batch
                take(self._pixels, batch, buffer[: len(batch)].numpy())
                self._ready.put(buffer)
        except BaseException as cause:  # raised by the thread that waits for the batch
            self._ready.put(cause)


class StreamedPixels:
    """Some images of a memory map, indexed by position in `chosen`. chosen: int64 (images,), rows of `pixels`."""

    def __init__(self, pixels: Pixels, chosen: np.ndarray, device: torch.device) -> None:
        self._pixels = pixels
        self._chosen = chosen
        self._device = device
        self._ahead: Ahead | None = None
        self.shape = (len(chosen), *pixels.shape[1:])

    def expect(self, batches: Sequence[Tensor]) -> None:
        """Announce the batches to come, in order."""
        self._close()
        if batches:
            rows = [self._chosen[batch.cpu().numpy()] for batch in batches]
            self._ahead = Ahead(self._pixels, rows, self._device)

    def take(self, indices: Tensor) -> Tensor:
        """Return images on the device, uint8 (batch, height, width, channels): the next batch, if any were announced."""
        if self._ahead is None:
            return lay_on(self._device, self._pixels, self._chosen[indices.cpu().numpy()])
        # Copying the indices from a GPU would wait for all of its queued work.
        asked = self._chosen[indices.numpy()] if indices.device.type == "cpu" else None
        return self._ahead.next(asked)

    def in_order(self, size: int) -> Iterator[Tensor]:
        """Yield all images in order, `size` at a time."""
        batches = [self._chosen[start : start + size] for start in range(0, len(self._chosen), size)]
        ahead = Ahead(self._pixels, batches, self._device)
        try:
            for batch in batches:
                yield ahead.next(batch)
        finally:
            ahead.close()

    def _close(self) -> None:
        if self._ahead is not None:
            self._ahead.close()
            self._ahead = None
