"""The package against NumPy and gguf-py, an independent reader, writer and decoder."""

import ast
import inspect
import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import gguf
import numpy as np
import pytest

import quantsmith as qs

ENCODABLE = [name for name, *_, encodes, _ in qs.types() if encodes]


def rows(shape, seed=1):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def model(path, ctx=64, vocab=48, width=256, layers=2, mlp=512, seed=0):
    """A small Llama written by gguf-py."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(ctx)
    writer.add_embedding_length(width)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(mlp)
    writer.add_head_count(4)
    writer.add_head_count_kv(4)
    writer.add_rope_dimension_count(width // 4)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(vocab)
    tokens = ["<unk>", "<s>", "</s>"] + [chr(97 + i % 26) * (1 + i // 26) for i in range(vocab - 4)] + ["▁"]
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * 3 + [-float(i) for i in range(vocab - 3)])
    writer.add_token_types([2, 3, 3] + [1] * (vocab - 3))
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    rng = np.random.default_rng(seed)

    def tensor(name, *shape):
        scale = shape[-1] ** -0.5
        writer.add_tensor(name, (rng.standard_normal(shape) * scale).astype(np.float32))

    tensor("token_embd.weight", vocab, width)
    tensor("output.weight", vocab, width)
    writer.add_tensor("output_norm.weight", np.ones(width, np.float32))
    for i in range(layers):
        writer.add_tensor(f"blk.{i}.attn_norm.weight", np.ones(width, np.float32))
        writer.add_tensor(f"blk.{i}.ffn_norm.weight", np.ones(width, np.float32))
        for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
            tensor(f"blk.{i}.{part}.weight", width, width)
        tensor(f"blk.{i}.ffn_gate.weight", mlp, width)
        tensor(f"blk.{i}.ffn_up.weight", mlp, width)
        tensor(f"blk.{i}.ffn_down.weight", width, mlp)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture(scope="session")
def small(tmp_path_factory):
    return model(tmp_path_factory.mktemp("model") / "small.gguf")


TEXT = "a b c d e f g h i j k l m n o p q r s t u v w x y z " * 40


@pytest.mark.parametrize("name", ENCODABLE)
def test_blocks_decode_as_gguf_decodes_them(name):
    """gguf-py's decoder, which we did not write, finds in our blocks what ours finds."""
    array = rows((3, 512))
    importance = np.abs(rows((512,), 2)) + 0.1
    blocks = qs.quantize(array, name, importance)
    kind = next((t for t in gguf.GGMLQuantizationType if t.name.lower() == name.lower()), None)
    if kind is None:
        pytest.skip(f"gguf-py does not know {name}")
    try:
        expected = gguf.dequantize(blocks, kind)
    except NotImplementedError:
        pytest.skip(f"gguf-py does not decode {name}")
    np.testing.assert_array_equal(qs.dequantize(blocks, name), expected.astype(np.float32).reshape(3, 512))


@pytest.mark.parametrize("name", ["Q4_0", "Q5_1", "Q8_0", "BF16", "F16"])
def test_blocks_equal_those_of_gguf(name):
    array = rows((4, 256))
    expected = gguf.quantize(array, gguf.GGMLQuantizationType[name])
    np.testing.assert_array_equal(qs.quantize(array, name), expected.view(np.uint8).reshape(4, -1))


def test_any_layout_and_dtype_is_taken():
    array = rows((64, 96)).T
    np.testing.assert_array_equal(
        qs.quantize(array, "q8_0"), qs.quantize(np.ascontiguousarray(array), "Q8_0")
    )
    np.testing.assert_array_equal(
        qs.quantize(array.astype(np.float64), "q8_0"), qs.quantize(array.astype(np.float32), "q8_0")
    )


def test_tensors_come_by_dlpack():
    class OnlyDlpack:
        def __init__(self, array):
            self.array = array

        def __dlpack__(self, **arguments):
            return self.array.__dlpack__(**arguments)

        def __dlpack_device__(self):
            return self.array.__dlpack_device__()

    array = rows((2, 64))
    np.testing.assert_array_equal(qs.quantize(OnlyDlpack(array), "q8_0"), qs.quantize(array, "q8_0"))


def test_wrong_requests_say_what_was_expected():
    with pytest.raises(qs.RequestError, match="multiple of 256"):
        qs.quantize(rows((2, 100)), "Q4_K")
    with pytest.raises(qs.RequestError, match="unknown"):
        qs.quantize(rows((2, 256)), "Q9_K")
    with pytest.raises(qs.RequestError, match="importance"):
        qs.quantize(rows((2, 256)), "IQ1_S")


def test_a_file_written_here_is_read_by_gguf(tmp_path):
    path = tmp_path / "made.gguf"
    writer = qs.GgufWriter(path, "llama")
    writer.set("llama.block_count", 7)
    writer.set("llama.eps", 1e-5)
    writer.set("made.flag", True)
    writer.set("made.name", "Ω")
    writer.set("made.list", [1, -2, 3], "i32")
    writer.set("made.words", ["a", "b"])
    weights, half = rows((5, 256)), rows((4, 8)).astype(np.float16)
    writer.add("w", weights, "Q6_K")
    writer.add("h", half)
    writer.add_raw("r", qs.quantize(weights, "Q8_0"), "Q8_0")
    writer.write()
    reader = gguf.GGUFReader(path)
    assert reader.fields["llama.block_count"].contents() == 7
    assert reader.fields["llama.block_count"].types == [gguf.GGUFValueType.UINT32]
    assert reader.fields["llama.eps"].contents() == pytest.approx(1e-5)
    assert reader.fields["made.flag"].contents() is True
    assert reader.fields["made.name"].contents() == "Ω"
    assert reader.fields["made.list"].contents() == [1, -2, 3]
    assert reader.fields["made.words"].contents() == ["a", "b"]
    tensors = {t.name: t for t in reader.tensors}
    np.testing.assert_array_equal(tensors["h"].data, half)
    np.testing.assert_array_equal(
        gguf.dequantize(tensors["w"].data, tensors["w"].tensor_type), qs.dequantize(qs.quantize(weights, "Q6_K"), "Q6_K")
    )


def test_a_file_of_gguf_is_read_here(small):
    ours, theirs = qs.Gguf.open(small), gguf.GGUFReader(small)
    assert ours.architecture == "llama" and len(ours) == len(theirs.tensors)
    for key, field in theirs.fields.items():
        if not key.startswith("GGUF."):
            assert ours.metadata[key] == pytest.approx(field.contents()), key
    for tensor in theirs.tensors:
        array = ours.tensor(tensor.name)
        np.testing.assert_array_equal(array, tensor.data)
        assert isinstance(array.base, np.memmap) or isinstance(array, np.memmap)
        assert not array.flags.writeable
        assert ours.raw(tensor.name).nbytes == ours.info(tensor.name).nbytes
    with pytest.raises(KeyError):
        ours.tensor("nothing")


def test_quantized_tensors_are_decoded(small, tmp_path):
    path = qs.quantize_file(small, tmp_path / "q.gguf", "Q4_K_M")
    ours = qs.Gguf.open(path)
    name = "blk.0.ffn_down.weight"
    reader = {t.name: t for t in gguf.GGUFReader(path).tensors}
    np.testing.assert_array_equal(
        ours.tensor(name), gguf.dequantize(reader[name].data, reader[name].tensor_type)
    )


def test_errors_have_their_causes(tmp_path):
    with pytest.raises(FileNotFoundError) as missing:
        qs.Gguf.open(tmp_path / "absent.gguf")
    assert missing.value.filename == str(tmp_path / "absent.gguf")
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(b"GGUF" + b"\xff" * 60)
    with pytest.raises(qs.FormatError, match="bad.gguf"):
        qs.Gguf.open(bad)
    with pytest.raises(qs.RequestError, match="Q4_K_M"):
        qs.quantize_file(bad, tmp_path / "o.gguf", "Q4_K_X")
    assert not (tmp_path / "o.gguf").exists()


def test_a_table_and_its_measures(small, tmp_path):
    told = []
    matrix = tmp_path / "imatrix.gguf"
    assert qs.imatrix(small, TEXT, matrix, context=32, chunks=4) == 4
    made = qs.table(
        small,
        tmp_path / "out",
        presets=["Q8_0", "Q4_K_M", "IQ2_XXS"],
        imatrix=matrix,
        progress=lambda done, total: told.append((done, total)),
    )
    assert [row["preset"] for row in made] == ["Q8_0", "Q4_K_M", "IQ2_XXS"]
    for row in made:
        assert row["error"] is None and os.path.getsize(row["file"]) == row["size_bytes"]
        assert [f for f in qs.verify(row["file"]) if f[0] == "error"] == []
    assert all(0 <= done <= total for done, total in told)
    files = [row["file"] for row in made]
    measured = qs.kl_divergence(small, files, TEXT, context=32, chunks=6)
    assert measured[0]["kld"][0] < measured[2]["kld"][0]
    report = qs.perplexity(files[0], TEXT, context=32, chunks=6)
    assert report["ppl"] == pytest.approx(measured[0]["ppl"][0], rel=1e-3)
    # The worst of the three loses and gains the most answers; a file is itself without a flip.
    for one in measured:
        lost, gained, both = (one["flips"][name][0] for name in ("lost", "gained", "all"))
        assert both == pytest.approx(lost + gained) and 0 <= both <= 1 - one["same_top"][0] + 1e-12
        assert np.exp(one["ln_ppl_ratio"][0]) == pytest.approx(one["ppl_ratio"][0])
        assert one["ppl"][0] - one["ppl_base"][0] == pytest.approx(one["ppl_difference"][0])
    itself = qs.kl_divergence(small, [small], TEXT, context=32, chunks=6)[0]
    assert itself["flips"]["all"][0] == 0 and itself["same_top"][0] == 1
    assert set(report) == keys("Perplexity") and set(itself) == keys("Divergence")
    assert set(itself["flips"]) == keys("Flips")


def test_rounding_is_that_of_the_command(small, tmp_path):
    text = tmp_path / "text"
    text.write_text(TEXT)
    found = {}
    for name in ("llama.cpp", "none"):
        found[name] = qs.perplexity(small, TEXT, context=32, chunks=6, rounding=name)["ppl"]
        command = ["perplexity", str(small), str(text), "-c", "32", "--chunks", "6", "--rounding", name, "--json"]
        done = subprocess.run([sys.executable, "-m", "quantsmith", *command], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["ppl"] == found[name]
    assert qs.perplexity(small, TEXT, context=32, chunks=6)["ppl"] == found["llama.cpp"] != found["none"]
    with pytest.raises(qs.RequestError, match="llama.cpp"):
        qs.perplexity(small, TEXT, context=32, rounding="f16")


def test_what_a_matrix_has_not_and_what_a_model_lacks(small, tmp_path):
    matrix = tmp_path / "imatrix.gguf"
    qs.imatrix(small, TEXT, matrix, context=32, chunks=4)
    with pytest.raises(qs.RequestError, match="output.weight"):
        qs.quantize_file(small, tmp_path / "a.gguf", "Q4_K_M", imatrix=matrix, output_tensor_type="IQ2_XXS")
    qs.quantize_file(
        small, tmp_path / "b.gguf", "Q4_K_M", imatrix=matrix, output_tensor_type="IQ2_XXS", missing_uniform=True
    )
    types = {t.name: t.type for t in qs.Gguf.open(tmp_path / "b.gguf").tensors}
    assert types["output.weight"] == "iq2_xxs"
    lacking = qs.GgufWriter(tmp_path / "lacking.gguf", "llama")
    lacking.set("llama.block_count", 1, "u32")
    lacking.add("token_embd.weight", rows((8, 32)))
    lacking.write()
    with pytest.raises(qs.FormatError, match="not a whole model: key 'tokenizer.ggml.model'"):
        qs.quantize_file(tmp_path / "lacking.gguf", tmp_path / "c.gguf", "Q8_0")
    qs.quantize_file(tmp_path / "lacking.gguf", tmp_path / "c.gguf", "Q8_0", allow_incomplete=True)
    assert qs.Gguf.open(tmp_path / "c.gguf").info("token_embd.weight").type == "q8_0"


STUBS = ast.parse((pathlib.Path(qs.__file__).parent / "__init__.pyi").read_text())


def keys(name):
    """The keys that the stubs give a dict."""
    (found,) = (node for node in STUBS.body if isinstance(node, ast.ClassDef) and node.name == name)
    return {field.target.id for field in found.body}


def test_the_stubs_have_every_argument():
    stubs = {node.name: node.args for node in STUBS.body if isinstance(node, ast.FunctionDef)}
    functions = {name for name in qs.__all__ if inspect.isbuiltin(getattr(qs, name))}
    assert functions == set(stubs)
    for name, arguments in stubs.items():
        written = [a.arg for a in arguments.posonlyargs + arguments.args + arguments.kwonlyargs]
        assert list(inspect.signature(getattr(qs, name)).parameters) == written, name


def test_token_ids(small):
    tokenizer = qs.Tokenizer.from_gguf(small)
    ids = tokenizer.encode("abc")
    assert ids[0] == tokenizer.bos == 1 and tokenizer.decode(ids).strip() == "abc"
    assert tokenizer.n_vocab == 48


def test_progress_that_raises_stops_the_call(small, tmp_path):
    class Stop(Exception):
        pass

    def stop(done, total):
        raise Stop

    with pytest.raises(Stop):
        qs.perplexity(small, TEXT * 30, context=32, progress=stop)


def test_other_threads_run_meanwhile(small):
    count, done = [0], threading.Event()

    def spin():
        while not done.is_set():
            count[0] += 1
            time.sleep(0.001)

    thread = threading.Thread(target=spin)
    thread.start()
    qs.perplexity(small, TEXT * 20, context=32)
    done.set()
    thread.join()
    assert count[0] > 5


INTERRUPTED = """
import signal, sys, quantsmith as qs
# Where the tests run in the background of a script, it was started with the signal ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
print("ready", flush=True)
try:
    while True:
        qs.table(sys.argv[1], sys.argv[2], presets=["IQ1_M"], imatrix=sys.argv[3])
except KeyboardInterrupt:
    print("interrupted")
"""


def test_ctrl_c_stops_and_leaves_no_partial_file(small, tmp_path):
    matrix = tmp_path / "imatrix.gguf"
    qs.imatrix(small, TEXT, matrix, context=32, chunks=4)
    out = tmp_path / "out"
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, str(small), str(out), str(matrix)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60)[0] == "interrupted\n"
    assert [name for name in os.listdir(out) if "partial" in name] == []


def test_the_command_comes_with_the_package(small):
    done = subprocess.run(
        [sys.executable, "-m", "quantsmith", "inspect", "--tensors", str(small)], capture_output=True, text=True
    )
    assert done.returncode == 0 and "blk.0.attn_q.weight" in done.stdout
    assert subprocess.run([sys.executable, "-m", "quantsmith", "nothing"], capture_output=True).returncode == 2
