"""Lets a CUDA build of torchvision be imported beside a CPU build of torch.

Set-up copies this file into the environment, and a ``.pth`` file there calls ``install`` at the
start of every Python. It adds a finder and no more until somebody imports torchvision.

Why: SGLang imports torchvision when it starts, also for text. The package index has CUDA builds
only; their compiled half cannot be loaded here, and their Python half then fails, as it describes
two operators that nobody has defined.
How: the two operators are declared, without code, just before torchvision runs.
Upstream: PyTorch's own index has CPU builds, but not every machine reaches it; SGLang's CPU images
build torchvision from source.
Goes when: the package index has a CPU build, or SGLang imports torchvision for images only.
"""

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

OPERATORS = ("nms", "qnms")
ARGUMENTS = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
LIBRARIES: list[object] = []  # torch forgets the operators of a library that is collected


def define_operators() -> None:
    """Declare torchvision's operators that its Python half needs to be there."""
    import torch

    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in OPERATORS:
        library.define(name + ARGUMENTS)
    LIBRARIES.append(library)


class TorchvisionFinder:
    """Finds torchvision where it is, and nothing else."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The module's own spec; its loader defines the operators before it runs the module."""
        spec = PathFinder.find_spec(name, path, target) if name == "torchvision" else None
        if spec is not None and spec.loader is not None:
            run = spec.loader.exec_module

            def define_and_run(module: ModuleType) -> None:
                define_operators()
                run(module)

            spec.loader.exec_module = define_and_run  # type: ignore[method-assign]
        return spec


def install() -> None:
    """Ask this finder before the others."""
    sys.meta_path.insert(0, TorchvisionFinder)
