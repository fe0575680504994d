//! Bodies of fuzz targets: any bytes may be given; a panic is a finding.

mod adapter;
mod recipe;

pub use self::adapter::adapter_deltas;
pub use self::recipe::recipe;
pub use crate::metadata::front_matter;
use crate::pipeline::{PipelineOptions, execute};
use crate::plan::OutputPlan;
use crate::source::Source;
use crate::source::hf::{AdapterOptions, AdapterSource, HfOptions, HfSource};

/// A configuration that is complete, for targets that vary another file.
const CONFIG: &str = r#"{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 8,
    "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 4, "head_size": 4, "layer_norm_epsilon": 1e-5,
    "rescale_every": 0}"#;

/// Widest rows that are read.
const MAX_ROW: u64 = 1 << 16;

/// A directory of these files.
fn directory(files: &[(&str, &[u8])]) -> Option<tempfile::TempDir> {
    let dir = tempfile::tempdir().ok()?;
    for (name, bytes) in files {
        std::fs::write(dir.path().join(name), bytes).ok()?;
    }
    Some(dir)
}

/// A safetensors file of this header.
fn weights(header: &str, data_bytes: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.resize(bytes.len() + data_bytes, 0);
    bytes
}

/// One tensor that every model has.
fn one_tensor() -> Vec<u8> {
    let header = r#"{"model.norm.weight":{"dtype":"F32","shape":[8],"data_offsets":[0,32]}}"#;
    weights(header, 32)
}

/// Opens the directory as a model and reads the first row of every tensor.
fn open(files: &[(&str, &[u8])]) {
    let Some(dir) = directory(files) else { return };
    for (headers_suffice, mmproj) in [(false, false), (true, false), (false, true)] {
        let options = HfOptions {
            headers_suffice,
            mmproj,
            ..HfOptions::default()
        };
        if let Ok(source) = HfSource::open(dir.path(), &options) {
            read_first_rows(&source);
        }
    }
}

fn read_first_rows(source: &dyn Source) {
    for (index, tensor) in source.tensors().iter().enumerate() {
        let row = tensor.shape.first().copied().unwrap_or(1);
        if row <= MAX_ROW {
            let mut out = vec![0.0; row as usize];
            let _ = source.read_rows(index, 0..1, &mut out);
            let _ = source.raw_rows(index, 0..1);
        }
    }
}

/// A model directory with this safetensors file.
pub fn safetensors(data: &[u8]) {
    open(&[("config.json", CONFIG.as_bytes()), ("model.safetensors", data)]);
}

/// A model directory with this index over two files.
pub fn index(data: &[u8]) {
    let part = |name: &str| {
        let header = format!(r#"{{"{name}":{{"dtype":"F32","shape":[8],"data_offsets":[0,32]}}}}"#);
        weights(&header, 32)
    };
    open(&[
        ("config.json", CONFIG.as_bytes()),
        ("model.safetensors.index.json", data),
        ("model-00001-of-00002.safetensors", &part("model.norm.weight")),
        (
            "model-00002-of-00002.safetensors",
            &part("model.layers.0.input_layernorm.weight"),
        ),
    ]);
}

/// A model directory with this configuration, of a text model or of an encoder.
pub fn config(data: &[u8]) {
    open(&[
        ("config.json", data),
        ("preprocessor_config.json", PREPROCESSOR.as_bytes()),
        ("model.safetensors", &one_tensor()),
    ]);
}

/// The configuration that goes with the weights of [`whole`].
pub const WHOLE_CONFIG: &str = r#"{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 8,
    "intermediate_size": 12, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": 4,
    "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "tie_word_embeddings": false}"#;

/// The weights of a Llama of two layers.
fn whole_weights() -> Vec<u8> {
    let mut entries = Vec::new();
    let mut end = 0;
    let mut add = |name: &str, shape: &[u64]| {
        let (start, bytes) = (end, 4 * shape.iter().product::<u64>());
        end += bytes;
        entries.push(format!(
            r#""{name}":{{"dtype":"F32","shape":{shape:?},"data_offsets":[{start},{end}]}}"#
        ));
    };
    add("model.embed_tokens.weight", &[4, 8]);
    add("model.norm.weight", &[8]);
    add("lm_head.weight", &[4, 8]);
    for layer in 0..2 {
        for (name, shape) in [
            ("input_layernorm", &[8][..]),
            ("post_attention_layernorm", &[8]),
            ("self_attn.q_proj", &[8, 8]),
            ("self_attn.k_proj", &[4, 8]),
            ("self_attn.v_proj", &[4, 8]),
            ("self_attn.o_proj", &[8, 8]),
            ("mlp.gate_proj", &[12, 8]),
            ("mlp.up_proj", &[12, 8]),
            ("mlp.down_proj", &[8, 12]),
        ] {
            add(&format!("model.layers.{layer}.{name}.weight"), shape);
        }
    }
    let header = format!("{{{}}}", entries.join(","));
    let mut bytes = weights(&header, usize::try_from(end).unwrap_or(0));
    // Zeros would be taken for a download that was cut short.
    for weight in bytes[8 + header.len()..].chunks_exact_mut(4) {
        weight.copy_from_slice(&0.25f32.to_le_bytes());
    }
    bytes
}

/// A whole Llama with this configuration: what can be converted, `verify` accepts.
///
/// # Panics
/// When it does not.
pub fn whole(data: &[u8]) {
    let weights = whole_weights();
    let files: [(&str, &[u8]); 3] = [
        ("config.json", data),
        ("tokenizer.json", BYTE_LEVEL.as_bytes()),
        ("model.safetensors", &weights),
    ];
    let Some(dir) = directory(&files) else { return };
    let options = HfOptions {
        pre_tokenizer: Some("gpt-2".to_owned()),
        ..HfOptions::default()
    };
    let Ok(source) = HfSource::open(dir.path(), &options) else {
        return;
    };
    let out = dir.path().join("out.gguf");
    let Ok(plan) = OutputPlan::unquantized(&out, &source, Vec::new()) else {
        return;
    };
    if execute(&source, &[plan], &PipelineOptions::default(), &|_| {}).is_err() {
        return;
    }
    let model = gguf::GgufModel::open(&out).expect("what was written can be opened");
    let findings = crate::verify::check(&model, &|_| {}).expect("what was written can be read");
    let error = findings
        .iter()
        .find(|f| f.severity == crate::verify::Severity::Error);
    assert!(error.is_none(), "converted, and then refused: {error:?}");
}

/// Preprocessor configuration for encoders of images.
const PREPROCESSOR: &str = r#"{"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5],
    "size": {"longest_edge": 16, "shortest_edge": 4}, "image_seq_length": 256}"#;

/// The files beside the weights that are read where they are there.
const SIDE_FILES: [&str; 14] = [
    "README.md",
    "generation_config.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
    "preprocessor_config.json",
    "hf_quant_config.json",
    "quantize_config.json",
    "quant_config.json",
    "modules.json",
    "sentencepiece.bpe.model",
];

/// A model directory with one more file: the first byte chooses which, and what tokenizer is beside it.
pub fn side_file(data: &[u8]) {
    let Some((&choice, content)) = data.split_first() else {
        return;
    };
    let name = SIDE_FILES[usize::from(choice) % SIDE_FILES.len()];
    let tokenizer: (&str, &[u8]) = match usize::from(choice) / SIDE_FILES.len() % 3 {
        0 => ("tokenizer.json", BYTE_LEVEL.as_bytes()),
        1 => ("tokenizer.json", BYTE_FALLBACK.as_bytes()),
        _ => ("tokenizer.model", &sentencepiece_model()),
    };
    let config = if choice & 0x80 == 0 { CONFIG } else { VISION_CONFIG };
    open(&[
        ("config.json", config.as_bytes()),
        ("preprocessor_config.json", PREPROCESSOR.as_bytes()),
        ("model.safetensors", &one_tensor()),
        tokenizer,
        (name, content),
    ]);
}

/// A configuration of a model with an encoder of images.
pub const VISION_CONFIG: &str = r#"{"architectures": ["Gemma3ForConditionalGeneration"], "model_type": "gemma3",
    "text_config": {"model_type": "gemma3_text", "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1,
    "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 4, "vocab_size": 4}, "vision_config":
    {"model_type": "siglip_vision_model", "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1,
    "num_attention_heads": 2, "image_size": 16, "patch_size": 4}, "mm_tokens_per_image": 4}"#;

/// A `tokenizer.json` of byte-level pieces.
pub const BYTE_LEVEL: &str = r#"{"version":"1.0","added_tokens":[{"id":3,"content":"<|end|>","special":true,"single_word":false,"lstrip":false,"rstrip":false,"normalized":false}],"normalizer":null,"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true},"post_processor":null,"decoder":{"type":"ByteLevel","add_prefix_space":true,"trim_offsets":true,"use_regex":true},"model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2},"merges":[["a","b"]]}}"#;

/// A `tokenizer.json` of pieces with bytes to fall back to.
pub const BYTE_FALLBACK: &str = r#"{"version":"1.0","added_tokens":[],"normalizer":null,"pre_tokenizer":null,"post_processor":null,"decoder":{"type":"Sequence","decoders":[{"type":"ByteFallback"}]},"model":{"type":"BPE","byte_fallback":true,"unk_token":"<unk>","vocab":{"<unk>":0,"<s>":1,"</s>":2,"a":3},"merges":[]}}"#;

/// A `tokenizer.json` of words and their continuations.
pub const WORD_PIECE: &str = r###"{"version":"1.0","added_tokens":[],"normalizer":{"type":"BertNormalizer","clean_text":true,"handle_chinese_chars":true,"strip_accents":null,"lowercase":true},"pre_tokenizer":{"type":"BertPreTokenizer"},"post_processor":null,"decoder":{"type":"WordPiece","prefix":"##","cleanup":true},"model":{"type":"WordPiece","unk_token":"[UNK]","continuing_subword_prefix":"##","max_input_chars_per_word":100,"vocab":{"[PAD]":0,"[UNK]":1,"a":2,"##b":3}}}"###;

/// A `tokenizer.json` of pieces with scores.
pub const UNIGRAM: &str = r#"{"version":"1.0","added_tokens":[],"normalizer":null,"pre_tokenizer":{"type":"Metaspace","replacement":"▁","add_prefix_space":true},"post_processor":null,"decoder":{"type":"Metaspace","replacement":"▁","add_prefix_space":true},"model":{"type":"Unigram","unk_id":2,"vocab":[["<pad>",0.0],["</s>",0.0],["<unk>",0.0],["▁a",-2.5]]}}"#;

/// A `tokenizer.model` of five pieces.
pub fn sentencepiece_model() -> Vec<u8> {
    let mut proto = Vec::new();
    for (text, kind) in [
        ("<unk>", 2u8),
        ("<s>", 3),
        ("</s>", 3),
        ("<0x0A>", 6),
        ("\u{2581}a", 1),
    ] {
        let mut piece = vec![0x0a, text.len() as u8];
        piece.extend(text.as_bytes());
        piece.push(0x15);
        piece.extend((-1f32).to_le_bytes());
        piece.extend([0x18, kind]);
        proto.extend([0x0a, piece.len() as u8]);
        proto.extend(piece);
    }
    proto
}

/// Classes that read their vocabularies in ways of their own.
const CLASSES: [&str; 8] = [
    "LlamaForCausalLM",
    "BertModel",
    "T5ForConditionalGeneration",
    "GPT2LMHeadModel",
    "XLMRobertaModel",
    "Gemma2ForCausalLM",
    "ChatGLMModel",
    "Rwkv6ForCausalLM",
];

/// Special tokens that ChatGLM's vocabularies must have.
const ADDED: &str = r#"{"added_tokens_decoder": {"2": {"content": "<|endoftext|>", "special": true},
    "3": {"content": "<|user|>", "special": true}}}"#;

/// Reads the vocabulary alone, for one of [`CLASSES`] that the input's length chooses.
fn vocabulary(name: &str, data: &[u8]) {
    let config = CONFIG.replacen(CLASSES[0], CLASSES[data.len() % CLASSES.len()], 1);
    let name = match config.contains("Rwkv6") {
        true => "rwkv_vocab_v20230424.txt",
        false => name,
    };
    let mut files = vec![("config.json", config.as_bytes()), (name, data)];
    if config.contains("ChatGLM") {
        files.push(("tokenizer_config.json", ADDED.as_bytes()));
    }
    let Some(dir) = directory(&files) else {
        return;
    };
    let options = HfOptions {
        vocab_only: true,
        ..HfOptions::default()
    };
    let _ = HfSource::open(dir.path(), &options);
}

/// A vocabulary with this `tokenizer.json`.
pub fn tokenizer_json(data: &[u8]) {
    vocabulary("tokenizer.json", data);
}

/// A vocabulary with this `tokenizer.model`, of SentencePiece or tiktoken, or this one of RWKV World.
pub fn sentencepiece(data: &[u8]) {
    vocabulary("tokenizer.model", data);
}

/// An adapter: its configuration up to a zero byte, then its weights.
pub fn adapter(data: &[u8]) {
    let mut parts = data.splitn(2, |&b| b == 0);
    let (config, weights) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let Some(dir) = directory(&[
        ("config.json", CONFIG.as_bytes()),
        ("adapter_config.json", config),
        ("adapter_model.safetensors", weights),
    ]) else {
        return;
    };
    let options = AdapterOptions {
        base: Some(dir.path().to_path_buf()),
        ..AdapterOptions::default()
    };
    if let Ok(source) = AdapterSource::open(dir.path(), &options) {
        read_first_rows(&source);
        let _ = adapter_deltas(dir.path());
    }
}

/// A PyTorch checkpoint.
pub fn pytorch(data: &[u8]) {
    if let Some(dir) = directory(&[("pytorch_model.bin", data)]) {
        let _ = crate::source::hf::fuzzing::pytorch(&dir.path().join("pytorch_model.bin"));
    }
}

/// A PyTorch checkpoint with this description of its tensors, over a storage of 64 bytes.
pub fn pickle(data: &[u8]) {
    if data.len() < 1 << 20 {
        pytorch(&zip(&[("m/data.pkl", data), ("m/data/0", &[0x3f; 64])]));
    }
}

/// Puts members into a zip file, as PyTorch does. They are short enough for its numbers of 32 bits.
pub fn zip(members: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for (name, bytes) in members {
        let header = out.len() as u32;
        let length = (bytes.len() as u32).to_le_bytes();
        out.extend(b"PK\x03\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
        out.extend([length, length].concat());
        out.extend((name.len() as u16).to_le_bytes());
        out.extend([0, 0]);
        out.extend(name.as_bytes());
        out.extend(*bytes);
        directory.extend(b"PK\x01\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
        directory.extend([length, length].concat());
        directory.extend((name.len() as u16).to_le_bytes());
        directory.extend([0; 12]);
        directory.extend(header.to_le_bytes());
        directory.extend(name.as_bytes());
    }
    let (start, size) = (out.len() as u32, directory.len() as u32);
    out.extend(directory);
    let count = (members.len() as u16).to_le_bytes();
    out.extend(b"PK\x05\x06\0\0\0\0");
    out.extend([count, count].concat());
    out.extend([size.to_le_bytes(), start.to_le_bytes()].concat());
    out.extend([0, 0]);
    out
}

/// The pickle of `{"w": tensor}` over storage 0 of `length` f32.
pub fn tensor_pickle(length: u8, offset: u8, shape: &[u8], stride: &[u8]) -> Vec<u8> {
    let mut out = b"\x80\x02}X\x01\0\0\0wctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storage".to_vec();
    out.extend(b"ctorch\nFloatStorage\nX\x01\0\0\0\x30X\x03\0\0\0cpu");
    out.extend([b'K', length, b't', b'Q', b'K', offset]);
    for numbers in [shape, stride] {
        out.push(b'(');
        out.extend(numbers.iter().flat_map(|&n| [b'K', n]));
        out.push(b't');
    }
    out.extend(b"\x89ccollections\nOrderedDict\n)RtRs.");
    out
}

/// A checkpoint that is quantized already: its configuration, and tensors of any names, types and shapes.
pub fn quantized(data: &[u8]) {
    if let Ok(dir) = tempfile::tempdir() {
        let _ = crate::source::hf::fuzzing::quantized(dir.path(), data);
    }
}

pub use crate::source::hf::fuzzing::quantized_seeds;

/// A run that is continued, with any journal and any leftovers.
pub fn journal(data: &[u8]) {
    if let Ok(dir) = tempfile::tempdir() {
        crate::pipeline::fuzzing::journal(dir.path(), data);
    }
}

/// A manifest of digests.
pub fn manifest(data: &[u8]) {
    let Ok(dir) = tempfile::tempdir() else { return };
    if std::fs::write(dir.path().join(crate::digest::MANIFEST), data).is_ok()
        && let Ok(entries) = crate::digest::read_manifest(dir.path())
    {
        assert!(entries.iter().all(|e| !e.name.contains('/')));
    }
}
