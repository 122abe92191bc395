from __future__ import annotations

import sys
from pathlib import Path

import torch

torch.set_num_threads(1)  # the tensors are small, and workers share the cores
sys.path.insert(0, str(Path(__file__).parent))  # `pages`, which these tests share
