"""Images that do not fit in memory: they lie in a file and are read in batches, ahead of use."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from jaxtyping import Int, UInt8
from torch import Tensor

#: Batches that are read ahead, and the threads that read them.
AHEAD, THREADS = 4, 2


class BatchReader:
    """Reads batches of images from a file that is mapped into memory.

    Threads read the next batches of a plan while the device computes; other batches are read when
    they are asked for. Either way the bytes are those of ``images[rows]``.
    """

    def __init__(self, images: UInt8[Tensor, "images ..."], device: torch.device) -> None:
        self.images, self.device = images, device
        self.pool = ThreadPoolExecutor(THREADS, thread_name_prefix="images")
        self.coming: deque[tuple[Tensor, Tensor]] = deque()  # rows as asked for, and on the host
        self.reading: deque[tuple[Tensor, Future[Tensor]]] = deque()
        self.last: tuple[Tensor, Tensor] | None = None

    def plan(self, batches: Sequence[Int[Tensor, "batch"]]) -> None:
        """Sets the batches that will be asked for, with these very tensors, in this order."""
        self.reading.clear()
        self.last = None
        hosts = torch.cat(list(batches)).cpu().split([len(rows) for rows in batches])
        self.coming = deque(zip(batches, hosts, strict=True))
        self._read_ahead()

    def __call__(self, rows: Int[Tensor, "batch"]) -> UInt8[Tensor, "batch ..."]:
        """The images with these indices, on the device."""
        if self.last is not None and self.last[0] is rows:
            return self.last[1]
        if self.reading and self.reading[0][0] is rows:
            host = self.reading.popleft()[1].result()
            self._read_ahead()
        else:
            host = self._read(rows.cpu())
        self.last = rows, host.to(self.device, non_blocking=True)
        return self.last[1]

    def _read_ahead(self) -> None:
        while self.coming and len(self.reading) < AHEAD:
            rows, host = self.coming.popleft()
            self.reading.append((rows, self.pool.submit(self._read, host)))

    def _read(self, rows: Int[Tensor, "batch"]) -> Tensor:
        images = self.images[rows]
        return images.pin_memory() if self.device.type == "cuda" else images
