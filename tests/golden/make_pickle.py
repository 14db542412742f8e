#!/usr/bin/env python3
"""A PyTorch checkpoint with a tensor of every kind that the reader knows.

  python3 make_pickle.py pickle.bin        (needs: torch)
"""
import sys
import torch


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.f32 = torch.nn.Parameter(torch.arange(6.0).reshape(2, 3))


state = Model().state_dict()
state["f16"], state["bf16"], state["i64"] = torch.arange(3).half(), torch.arange(3).bfloat16(), torch.arange(4)
state["alias"], state["parameter"] = state["f32"], torch.nn.Parameter(torch.tensor([[1.5]]))
torch.save(state, sys.argv[1])
