"""Read, write, convert, quantize and measure GGUF models.

Shapes are NumPy's: the last dimension is the row that blocks are cut from. Type and preset names are
llama.cpp's, in any case. Long calls release the interpreter's lock, stop on Ctrl-C with nothing left
under a final name, and call ``progress(done, total)``.
"""

from ._quantsmith import (
    FormatError,
    Gguf,
    GgufWriter,
    NotFiniteError,
    QuantsmithError,
    RequestError,
    TensorInfo,
    Tokenizer,
    __version__,
    block_size,
    convert,
    dequantize,
    imatrix,
    kl_divergence,
    perplexity,
    presets,
    quantize,
    quantize_file,
    table,
    types,
    verify,
)

__all__ = [
    "FormatError",
    "Gguf",
    "GgufWriter",
    "NotFiniteError",
    "QuantsmithError",
    "RequestError",
    "TensorInfo",
    "Tokenizer",
    "__version__",
    "block_size",
    "convert",
    "dequantize",
    "imatrix",
    "kl_divergence",
    "perplexity",
    "presets",
    "quantize",
    "quantize_file",
    "table",
    "types",
    "verify",
]


def _main() -> int:
    """The ``quantsmith`` command."""
    import signal
    import sys

    from ._quantsmith import run_command

    # The command runs outside of the interpreter, which would only note these and go on.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    return run_command(sys.argv)
