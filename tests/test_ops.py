"""Every operation on every backend against the oracle."""

import oracle
from hypothesis import given


@given(call=oracle.calls())
def test_random_calls(backend, call):
    call.check()
