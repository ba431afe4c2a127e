"""sepconv: convolution for arrays, in Python alone. Depthwise, pointwise, depthwise-separable, spatially separable and standard."""

from .call import explain as explain
from .cost import Cost as Cost
from .cost import conv_cost as conv_cost
from .dispatch import backends as backends
from .dispatch import register_backend as register_backend
from .dispatch import use_backend as use_backend
from .factorize import FactorizedKernel as FactorizedKernel
from .factorize import factorize as factorize
from .ops import conv1d as conv1d
from .ops import conv2d as conv2d
from .ops import conv3d as conv3d
from .ops import depthwise_conv1d as depthwise_conv1d
from .ops import depthwise_conv2d as depthwise_conv2d
from .ops import depthwise_conv3d as depthwise_conv3d
from .ops import pointwise_conv1d as pointwise_conv1d
from .ops import pointwise_conv2d as pointwise_conv2d
from .ops import pointwise_conv3d as pointwise_conv3d
from .ops import separable_conv1d as separable_conv1d
from .ops import separable_conv2d as separable_conv2d
from .ops import separable_conv3d as separable_conv3d
from .separate import SeparableKernel as SeparableKernel
from .separate import separate as separate
from .threads import get_num_threads as get_num_threads
from .threads import num_threads as num_threads
from .threads import set_num_threads as set_num_threads

__version__ = "0.1.0"

_LATER = ("bench", "data", "layers", "ndimage", "signal", "warm")  # modules that are imported when they are first asked for


def __getattr__(name: str) -> object:
    if name in _LATER:
        import importlib

        return importlib.import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})
