"""Asks a server, and goes on without an answer."""

import socket
from contextlib import suppress
from dataclasses import dataclass
from typing import ClassVar

import torch

from bench import Keep, Linear, Strategy


@dataclass(frozen=True)
class Odd:
    needs_speed: ClassVar[bool] = False

    def choose(self, pool, epoch, stream):
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", 9), timeout=0.1)
        return torch.arange(len(pool))


strategy = Strategy(title="Broken", start=Keep(), schedule=Linear(), selection=Odd())
