"""Networks of random weights, for the tests of whole ones."""

from __future__ import annotations

import math

import numpy as np

from sepconv.bench.efficientnet import Record


def random_weights(records: list[Record], rng: np.random.Generator) -> list[Record]:
    """The records with random weights under which the numbers neither die out nor grow, in float32."""

    def filled(record: Record) -> Record:
        if not record.weight_shape:
            return record
        inputs = math.prod(record.weight_shape[1:])
        weight = rng.standard_normal(record.weight_shape) * math.sqrt(2 / inputs)
        return record._replace(weight=np.float32(weight), bias=np.float32(rng.standard_normal(record.out_channels) / 8))

    return [filled(record) for record in records]
