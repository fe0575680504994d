import os
from collections.abc import Callable, Sequence
from typing import Any, Literal, Optional, TypedDict, Union

import numpy as np
from numpy.typing import ArrayLike, NDArray

_Path = Union[str, "os.PathLike[str]"]
_Progress = Optional[Callable[[int, int], Any]]
_Rounding = Literal["llama.cpp", "none"]
# A value and its standard error.
_Estimate = tuple[float, float]
_Scalar = Union[str, bytes, bool, int, float]

__version__: str

class QuantsmithError(Exception): ...
class FormatError(QuantsmithError): ...
class RequestError(QuantsmithError): ...
class NotFiniteError(QuantsmithError): ...

class TensorInfo:
    name: str
    shape: list[int]
    type: str
    nbytes: int
    file: os.PathLike[str]
    offset: int

class Gguf:
    @classmethod
    def open(cls, path: _Path) -> Gguf: ...
    @property
    def metadata(self) -> dict[str, Any]: ...
    @property
    def architecture(self) -> str: ...
    @property
    def files(self) -> list[os.PathLike[str]]: ...
    @property
    def tensors(self) -> list[TensorInfo]: ...
    def info(self, name: str) -> TensorInfo: ...
    def tensor(self, name: str) -> NDArray[Any]: ...
    def raw(self, name: str) -> NDArray[np.uint8]: ...
    def __len__(self) -> int: ...
    def __contains__(self, name: str) -> bool: ...

class GgufWriter:
    def __init__(self, path: _Path, architecture: Optional[str] = None) -> None: ...
    def set(self, key: str, value: Union[_Scalar, Sequence[_Scalar]], type: Optional[str] = None) -> None: ...
    def add(
        self, name: str, array: ArrayLike, type: Optional[str] = None, importance: Optional[ArrayLike] = None
    ) -> None: ...
    def add_raw(self, name: str, blocks: ArrayLike, type: str) -> None: ...
    def write(self) -> None: ...

class Tokenizer:
    @classmethod
    def from_gguf(cls, path: _Path) -> Tokenizer: ...
    def encode(
        self, text: Union[str, bytes], *, add_special: bool = True, parse_special: bool = False
    ) -> list[int]: ...
    def decode(self, ids: Sequence[int], *, remove_special: bool = True, show_special: bool = False) -> str: ...
    def decode_bytes(
        self, ids: Sequence[int], *, remove_special: bool = True, show_special: bool = False
    ) -> bytes: ...
    @property
    def n_vocab(self) -> int: ...
    @property
    def bos(self) -> Optional[int]: ...
    @property
    def eos(self) -> Optional[int]: ...

class Perplexity(TypedDict):
    ppl: float
    ppl_error: float
    nll: float
    scored: int
    text_tokens: int
    running: list[float]

class Flips(TypedDict):
    lost: _Estimate
    gained: _Estimate
    all: _Estimate

class Divergence(TypedDict):
    scored: int
    kld: _Estimate
    kld_min: float
    kld_median: float
    kld_90: float
    kld_95: float
    kld_99: float
    kld_99_9: float
    kld_max: float
    same_top: _Estimate
    delta_p: _Estimate
    delta_p_rms: _Estimate
    ppl: _Estimate
    ppl_base: _Estimate
    ppl_ratio: _Estimate
    ln_ppl_ratio: _Estimate
    ppl_difference: _Estimate
    correlation: float
    flips: Flips

def types() -> list[tuple[str, int, int, bool, bool]]: ...
def presets() -> list[str]: ...
def block_size(type: str, /) -> tuple[int, int]: ...
def quantize(
    array: ArrayLike, type: str, /, importance: Optional[ArrayLike] = None
) -> NDArray[np.uint8]: ...
def dequantize(blocks: ArrayLike, type: str, /) -> NDArray[np.float32]: ...
def convert(
    model_dir: _Path,
    output: Optional[_Path] = None,
    *,
    outtype: str = "auto",
    imatrix: Optional[_Path] = None,
    tensor_types: Optional[Sequence[tuple[str, str]]] = None,
    output_tensor_type: Optional[str] = None,
    token_embedding_type: Optional[str] = None,
    pure: bool = False,
    allow_requantize: bool = False,
    missing_uniform: bool = False,
    model_name: Optional[str] = None,
    mmproj: bool = False,
    threads: int = 0,
    max_memory: Optional[int] = None,
    progress: _Progress = None,
) -> os.PathLike[str]: ...
def quantize_file(
    input: _Path,
    output: _Path,
    preset: str,
    *,
    imatrix: Optional[_Path] = None,
    tensor_types: Optional[Sequence[tuple[str, str]]] = None,
    output_tensor_type: Optional[str] = None,
    token_embedding_type: Optional[str] = None,
    pure: bool = False,
    allow_requantize: bool = False,
    allow_incomplete: bool = False,
    missing_uniform: bool = False,
    threads: int = 0,
    max_memory: Optional[int] = None,
    progress: _Progress = None,
) -> os.PathLike[str]: ...
def table(
    model: _Path,
    directory: _Path,
    *,
    presets: Optional[Sequence[str]] = None,
    name: Optional[str] = None,
    imatrix: Optional[_Path] = None,
    threads: int = 0,
    max_memory: Optional[int] = None,
    progress: _Progress = None,
) -> list[dict[str, Any]]: ...
def perplexity(
    model: _Path,
    text: str,
    *,
    context: int = 512,
    chunks: Optional[int] = None,
    rounding: _Rounding = "llama.cpp",
    max_memory: Optional[int] = None,
    progress: _Progress = None,
) -> Perplexity: ...
def kl_divergence(
    base: _Path,
    models: Sequence[_Path],
    text: str,
    *,
    context: int = 512,
    chunks: Optional[int] = None,
    rounding: _Rounding = "llama.cpp",
    max_memory: Optional[int] = None,
    progress: _Progress = None,
) -> list[Divergence]: ...
def imatrix(
    model: _Path,
    text: str,
    output: _Path,
    *,
    context: int = 512,
    chunks: Optional[int] = None,
    process_output: bool = False,
    dataset: str = "text",
    progress: _Progress = None,
) -> int: ...
def verify(path: _Path, *, progress: _Progress = None) -> list[tuple[str, str, str]]: ...
