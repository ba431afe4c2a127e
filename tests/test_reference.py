"""The CPU backend's machinery. (Being written by the helper "part 2", who also writes test_reference.py; 01:33.)"""
