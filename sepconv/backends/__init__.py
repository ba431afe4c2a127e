"""The backends: `reference.py` defines every result, `cpu/` and `cuda/` are the fast ones, `torch.py` unwraps PyTorch's tensors for `cuda/`."""
