//! Vocabularies in a form that can be compared line by line.

use std::fmt::Write;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use convert::tokenizer::{VocabKind, VocabRequest, VocabStep};
use gguf::{Array, GgufString, Metadata, Value};
use reference::Tokenizer;
use sha2::{Digest, Sha256};

/// Vocabulary request of llama.cpp's converter, by the model's `config.json`.
pub fn request_for(config: &serde_json::Value) -> VocabRequest {
    let architecture = config["architectures"][0].as_str().unwrap_or("");
    match architecture {
        "Qwen2ForCausalLM" | "Qwen3ForCausalLM" => VocabRequest::qwen2(),
        "Gemma2ForCausalLM" => VocabRequest::new(&[VocabKind::SentencePiece])
            .and([VocabStep::SpacePrefix(VocabKind::SentencePiece, false)]),
        "XLMRobertaModel" => VocabRequest::of([
            VocabStep::TokenTypes(2),
            VocabStep::read(&[VocabKind::XlmRoberta]),
        ]),
        "GPT2LMHeadModel" | "Qwen2MoeForCausalLM" => VocabRequest::new(&[VocabKind::Bpe]),
        _ => VocabRequest::llama(config),
    }
}

/// One line for each key: the key, the type's id (an array's with its elements'), the number of
/// elements, and the SHA-256 of the value's bytes in a little-endian GGUF file.
pub fn digest_lines(metadata: &Metadata) -> String {
    let mut lines = String::new();
    for (key, value) in metadata.iter() {
        let mut bytes = Vec::new();
        let (kind, count) = match value {
            Value::Array(array) => {
                encode_array(array, &mut bytes);
                let element = array.element_type() as u32;
                (format!("{}/{element}", value.value_type() as u32), array.len())
            }
            scalar => {
                encode_scalar(scalar, &mut bytes);
                ((scalar.value_type() as u32).to_string(), 1)
            }
        };
        let digest: String = Sha256::digest(&bytes).iter().fold(String::new(), |mut s, b| {
            let _ = write!(s, "{b:02x}");
            s
        });
        let _ = writeln!(lines, "{key}\t{kind}\t{count}\t{digest}");
    }
    lines
}

/// The texts in a folder's `texts`: each after its length as a little-endian 32-bit number.
///
/// # Errors
/// A file that cannot be read or ends inside a text.
pub fn texts(folder: &Path) -> Result<Vec<Vec<u8>>> {
    let packed = std::fs::read(folder.join("texts"))?;
    let (mut rest, mut texts) = (packed.as_slice(), Vec::new());
    while let Some((length, tail)) = rest.split_first_chunk() {
        let length = u32::from_le_bytes(*length) as usize;
        let (text, tail) = tail.split_at_checked(length).context("a text that is cut off")?;
        texts.push(text.to_vec());
        rest = tail;
    }
    Ok(texts)
}

/// Whether a vocabulary's ids of the folder's texts are those in its `ids`, a line for each; how many texts there are.
///
/// # Errors
/// The first text with other ids; files or a vocabulary that cannot be read.
pub fn same_ids(metadata: &Metadata, folder: &Path) -> Result<usize> {
    let texts = texts(folder)?;
    let expected = std::fs::read_to_string(folder.join("ids"))?;
    let lines: Vec<&str> = expected.lines().collect();
    let tokenizer = Tokenizer::from_metadata(metadata)?;
    ensure!(
        lines.len() == texts.len() && !texts.is_empty(),
        "{} lines of ids for {} texts",
        lines.len(),
        texts.len()
    );
    for (text, line) in texts.iter().zip(lines) {
        let wanted: Vec<u32> = line
            .split_whitespace()
            .map(str::parse)
            .collect::<Result<_, _>>()?;
        let got = tokenizer.encode(text, true, true);
        ensure!(
            got == wanted,
            "{:?}: ids {got:?}, expected {wanted:?}",
            String::from_utf8_lossy(text)
        );
    }
    Ok(texts.len())
}

fn encode_string(text: &GgufString, out: &mut Vec<u8>) {
    out.extend((text.0.len() as u64).to_le_bytes());
    out.extend(&text.0);
}

fn encode_scalar(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::U8(v) => out.push(*v),
        Value::I8(v) => out.extend(v.to_le_bytes()),
        Value::U16(v) => out.extend(v.to_le_bytes()),
        Value::I16(v) => out.extend(v.to_le_bytes()),
        Value::U32(v) => out.extend(v.to_le_bytes()),
        Value::I32(v) => out.extend(v.to_le_bytes()),
        Value::F32(v) => out.extend(v.to_le_bytes()),
        Value::Bool(v) => out.push(u8::from(*v)),
        Value::String(v) => encode_string(v, out),
        Value::U64(v) => out.extend(v.to_le_bytes()),
        Value::I64(v) => out.extend(v.to_le_bytes()),
        Value::F64(v) => out.extend(v.to_le_bytes()),
        Value::Array(v) => encode_array(v, out),
    }
}

fn encode_array(array: &Array, out: &mut Vec<u8>) {
    out.extend((array.element_type() as u32).to_le_bytes());
    out.extend((array.len() as u64).to_le_bytes());
    match array {
        Array::U8(v) => out.extend(v),
        Array::I8(v) => v.iter().for_each(|x| out.extend(x.to_le_bytes())),
        Array::U16(v) => v.iter().for_each(|x| out.extend(x.to_le_bytes())),
        Array::I16(v) => v.iter().for_each(|x| out.extend(x.to_le_bytes())),
        Array::U32(v) => v.iter().for_each(|x| out.extend(x.to_le_bytes())),
        Array::I32(v) => v.iter().for_each(|x| out.extend(x.to_le_bytes())),
        Array::F32(v) => v.iter().for_each(|x| out.extend(x.to_le_bytes())),
        Array::Bool(v) => v.iter().for_each(|x| out.push(u8::from(*x))),
        Array::String(v) => v.iter().for_each(|x| encode_string(x, out)),
        Array::Array(v) => v.iter().for_each(|x| encode_array(x, out)),
        Array::U64(v) => v.iter().for_each(|x| out.extend(x.to_le_bytes())),
        Array::I64(v) => v.iter().for_each(|x| out.extend(x.to_le_bytes())),
        Array::F64(v) => v.iter().for_each(|x| out.extend(x.to_le_bytes())),
    }
}
