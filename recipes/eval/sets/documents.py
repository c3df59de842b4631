"""Questions about long documents: twelve of them, of 4,000 to 7,000 tokens each.

A document is the reference of some functions of numpy, in the words of their docstrings (numpy's
licence, BSD-3-Clause; they are read from the installed package and not shipped here).
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from itertools import cycle

import numpy as np

from .rows import Row

CHARACTERS = (20_000, 14_000, 17_000)
"""Of documents in turn; a token of a small model's tokenizer is about three of them."""
REQUEST = "Here is a part of a reference manual.\n\n{document}\n\n---\n\n{question}"
DOCUMENTS = {
    "reading": ("loadtxt genfromtxt savetxt fromstring load save savez", "Which arguments of genfromtxt deal with missing values, and what does each of them do?"),
    "joining": ("concatenate stack vstack hstack column_stack block split array_split append insert", "When would one use stack and when concatenate? Give a short example of each."),
    "sums": ("sum cumsum prod mean std var nansum nanmean", "Summarise what the manual says about the precision of sums and means."),
    "sorting": ("sort argsort lexsort partition argpartition searchsorted", "Which sorting algorithms can be chosen, and how do they differ?"),
    "sets": ("unique isin intersect1d setdiff1d union1d setxor1d ediff1d trim_zeros histogram bincount digitize", "Explain what unique returns beside the unique values, with an example."),
    "einsum": ("einsum einsum_path tensordot", "Explain how einsum's subscripts are read, in your own words."),
    "linalg": ("linalg.svd linalg.eig linalg.eigh linalg.qr linalg.solve linalg.lstsq linalg.pinv", "What is the difference between eig and eigh, and when does svd help instead?"),
    "fourier": ("fft.fft fft.ifft fft.rfft fft.irfft fft.fft2 fft.fftn fft.fftfreq fft.fftshift", "How does one get back the original signal after rfft, and what must one mind?"),
    "statistics": ("percentile quantile median average corrcoef cov histogram2d", "List the methods by which quantile can interpolate, and what the manual says of each."),
    "shapes": ("reshape ravel transpose moveaxis swapaxes expand_dims squeeze broadcast_to tile repeat pad roll", "What are the modes of pad? Describe each in a sentence."),
    "choosing": ("where select choose take put compress extract piecewise nonzero argwhere clip", "Compare where, select and choose: what does each take, and what does it give?"),
    "polynomials": ("polyfit polyval poly1d roots polyder polyint polymul polydiv interp trapezoid", "How does polyfit find the coefficients, and what does it return with full=True?"),
}  # fmt: skip


def document(names: str, size: int) -> str:
    """The reference of these functions, cut at the end of a paragraph."""
    found = {name: _reference(name) for name in names.split()}
    parts = [f"## numpy.{name}\n\n{text}" for name, text in found.items() if text]
    return "\n\n".join(parts)[:size].rpartition("\n\n")[0]


def _reference(name: str) -> str:
    """The docstring of a function of numpy; empty where this version has none such."""
    found: object = np
    for part in name.split("."):
        found = getattr(found, part, None)
    return inspect.cleandoc(found.__doc__ or "") if found is not None else ""


def rows() -> Iterator[Row]:
    """A question about each document."""
    for (name, (functions, question)), size in zip(DOCUMENTS.items(), cycle(CHARACTERS)):
        prompt = REQUEST.format(document=document(functions, size), question=question)
        yield {"id": name, "category": "documents", "prompt": prompt}
