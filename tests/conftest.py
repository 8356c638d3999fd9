"""Shared by all tests: one CPU thread, as in a benchmark cell."""

import torch

torch.set_num_threads(1)
