"""One room a backend: `reference.py` is the meaning, `cpu/` the speed; adapters unwrap, call and wrap."""
