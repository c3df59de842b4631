"""Test-only: vLLM's CPU worker runs Model Runner V2, its Triton kernels in Triton's interpreter.

    LONGSPEC_INTERPRET=1 PYTHONPATH=tests/interpreter python ...

Python imports this file at its start, and so does every process that vLLM starts, as both variables
are inherited. Without ``LONGSPEC_INTERPRET`` it does nothing; with it, a finder changes a few
modules just after they are first imported, whoever imports them. Engines must be eager
(``--enforce-eager``): torch.compile takes the named backend for a real one. Asynchronous scheduling
is on wherever a GPU would have it on; ``--no-async-scheduling`` turns it off.

``LONGSPEC_INTERPRET=kernels`` beside ``TRITON_INTERPRET=1`` is for tests of kernels without an
engine, which take two thirds as long.
"""

import os
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType, SimpleNamespace
from typing import Any

DEFAULTS = {
    "TRITON_INTERPRET": "1",
    "VLLM_USE_V2_MODEL_RUNNER": "1",
    "TORCHDYNAMO_DISABLE": "1",  # vLLM compiles the lookup of embeddings that ranks share
}


# Why: vLLM's CPU build has no Triton, hence no Model Runner V2, unless Triton has a "cpu" backend.
# How: name one, active and without a compiler; TRITON_INTERPRET=1 runs kernels without any backend.
# Upstream: vllm/triton_utils/importing.py; triton/backends/__init__.py.
# Goes when: Triton's wheel for the CPU has a backend of that name, as triton-cpu does.
def add_cpu_backend(backends: ModuleType) -> None:
    """A backend ``cpu`` in ``triton.backends``."""
    driver = SimpleNamespace(is_active=lambda: True)
    backends.backends.setdefault("cpu", SimpleNamespace(driver=driver, compiler=None))


# Why: some ANDs of 0-d masks come out as integers, which a masked load or store then refuses
#   (vLLM's n-gram kernels make such masks).
# How: make the mask boolean just before it is used.
# Upstream: triton/runtime/interpreter.py, InterpreterBuilder.create_masked_load and _store.
# Goes when: `ngram_gpu` runs in the interpreter without it.
def make_masks_boolean(interpreter: ModuleType) -> None:
    """Loads and stores that take any mask."""
    builder = interpreter.InterpreterBuilder
    load, store = builder.create_masked_load, builder.create_masked_store

    def boolean(mask: Any) -> Any:
        mask.data = mask.data.astype(bool)
        return mask

    def masked_load(self: Any, pointers: Any, mask: Any, *rest: Any, **options: Any) -> Any:
        return load(self, pointers, boolean(mask), *rest, **options)

    def masked_store(self: Any, pointers: Any, value: Any, mask: Any, *rest: Any) -> Any:
        return store(self, pointers, value, boolean(mask), *rest)

    builder.create_masked_load, builder.create_masked_store = masked_load, masked_store


# Why: half of the interpreter's time goes into what is the same at each launch, or for each tensor
#   of a shape.
# How: patch the language once, where each launch and each function that a kernel calls did, and
#   call what it means; find NumPy's types and what a shape says once.
# Upstream: triton/runtime/interpreter.py, _patch_lang, _patch_attr and _get_np_dtype;
#   triton/language/core.py, block_type and tensor.
# Goes when: tests take no longer without it.
def hasten(interpreter: ModuleType) -> None:
    """Kernels as before, sooner."""
    patch, find = interpreter._patch_lang, interpreter._get_np_dtype
    patched, types = set(), {}
    for_good = SimpleNamespace(restore=lambda: None)

    def patch_once(function: Any) -> Any:
        if id(function.__globals__) not in patched:
            patch(function)
            patched.add(id(function.__globals__))
        return for_good

    def patch_attr(obj: Any, name: str, member: Any, builder: Any, scope: Any) -> None:
        inner = getattr(member, "__wrapped__", member)  # what is around it asks for _semantic alone

        def call(*args: Any, **kwargs: Any) -> Any:
            kwargs["_semantic"] = interpreter.interpreter_semantic
            return inner(*args, **kwargs)

        scope.set_attr(obj, name, call)

    def numpy_type(dtype: Any) -> Any:
        name = dtype.scalar.name
        if name not in types:
            types[name] = find(dtype)
        return types[name]

    interpreter._patch_lang, interpreter._get_np_dtype = patch_once, numpy_type
    interpreter._patch_attr = patch_attr
    remember_shapes(interpreter.tl.core)


def remember_shapes(core: ModuleType) -> None:
    """Types and tensors whose shapes are looked at once."""
    init_block, init_tensor = core.block_type.__init__, core.tensor.__init__
    blocks: dict[tuple[int, ...], Any] = {}
    tensors: dict[tuple[int, ...], Any] = {}

    def new_block(self: Any, element_ty: Any, shape: Any) -> None:
        sizes = tuple(getattr(size, "value", size) for size in shape)
        if sizes not in blocks:
            init_block(self, element_ty, shape)
            blocks[sizes] = self.shape, self.numel, str(self.shape)
            return
        self.shape, self.numel, told = blocks[sizes]
        self.element_ty, self.name = element_ty, f"<{told}, {element_ty}>"

    def new_tensor(self: Any, handle: Any, type: Any) -> None:
        sizes = tuple(type.shape.values) if type.is_block() else ()
        if sizes not in tensors:
            init_tensor(self, handle, type)
            tensors[sizes] = self.shape, self.numel
            return
        self.handle, self.type, self.dtype = handle, type, type.scalar
        self.shape, self.numel = tensors[sizes]

    core.block_type.__init__, core.tensor.__init__ = new_block, new_tensor


# Why: beside each sum and product of 32 bits the interpreter takes one of 64, to see an overflow.
# How: an option; where kernels alone are tested it stays on.
# Upstream: triton/runtime/interpreter.py, InterpreterOptions.
# Goes when: engines' tests take no longer without it.
def trust_numbers(interpreter: ModuleType) -> None:
    """Sums and products of which none is checked."""
    options = interpreter.InterpreterOptions(sanitize_overflow=False)
    interpreter.interpreter_builder.options = options


# Why: the CPU platform turns asynchronous scheduling off, which a GPU has on.
# How: give it back as it was resolved before, where Model Runner V2 runs.
# Upstream: vllm/platforms/cpu.py, CpuPlatform.check_and_update_config.
# Goes when: the CPU platform keeps what was asked for.
def keep_async_scheduling(cpu: ModuleType) -> None:
    """A platform that leaves asynchronous scheduling as it is."""
    stock = cpu.CpuPlatform.check_and_update_config.__func__

    def check_and_update_config(cls: type, config: Any) -> None:
        wanted = config.scheduler_config.async_scheduling
        stock(cls, config)
        if wanted and config.use_v2_model_runner:
            config.scheduler_config.async_scheduling = True

    cpu.CpuPlatform.check_and_update_config = classmethod(check_and_update_config)


# Why: the Triton kernel of top-k and top-p calls a method of a number that is no tensor here.
# How: take the same function's path without Triton.
# Upstream: vllm/v1/sample/ops/topk_topp_sampler.py, apply_top_k_top_p.
# Goes when: that function looks at the platform, not at Triton alone.
def use_torch_top_k_top_p(sampler: ModuleType) -> None:
    """Top-k and top-p by torch."""
    sampler.HAS_TRITON = False


INTERPRETER = "triton.runtime.interpreter"
KERNELS: dict[str, Sequence[Callable[[ModuleType], None]]] = {INTERPRETER: (hasten,)}
ENGINES = {
    "triton.backends": (add_cpu_backend,),
    INTERPRETER: (make_masks_boolean, hasten, trust_numbers),
    "vllm.platforms.cpu": (keep_async_scheduling,),
    "vllm.v1.sample.ops.topk_topp_sampler": (use_torch_top_k_top_p,),
}
INTERPRET = os.environ.get("LONGSPEC_INTERPRET")
CHANGES = {"1": ENGINES, "kernels": KERNELS}.get(INTERPRET or "", {})


class ChangingFinder:
    """Finds the modules of ``CHANGES`` where they are, and nothing else."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The module's own spec; its loader changes the module once it has run."""
        spec = PathFinder.find_spec(name, path, target) if name in CHANGES else None
        if spec is not None and spec.loader is not None:
            run = spec.loader.exec_module

            def run_and_change(module: ModuleType) -> None:
                run(module)
                for change in CHANGES[name]:
                    change(module)

            spec.loader.exec_module = run_and_change  # type: ignore[method-assign]
        return spec


if CHANGES:
    sys.meta_path.insert(0, ChangingFinder)
if INTERPRET == "1":
    for variable, value in DEFAULTS.items():
        os.environ.setdefault(variable, value)
