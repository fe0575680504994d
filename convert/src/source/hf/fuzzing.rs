//! Fuzzing of the readers of checkpoints, below the names and shapes that an architecture expects.

use std::path::Path;

use safetensors::Dtype;

use super::parts::{Naming, Parts};
use super::pytorch::PytorchFile;
use super::quantized::{QuantConfig, rewrite};
use super::tensor_file::TensorFile;

/// Most bytes of a tensor that are read at once.
const MAX_READ: u64 = 1 << 16;
/// Most bytes of all stored tensors together.
const MAX_DATA: usize = 1 << 16;

/// Reads the first and the last bytes of every tensor.
fn read_all(file: &dyn TensorFile) {
    for entry in file.entries() {
        let width = entry.element().map_or(1, |e| e.bytes_of(1)).max(1);
        let length = entry.bytes.min(MAX_READ) / width * width;
        let mut out = vec![0; length as usize];
        for start in [0, (entry.bytes - length) / width * width] {
            let _ = file.read_at(entry.offset + start, &mut out);
        }
    }
}

/// A PyTorch checkpoint. Returns whether it is one.
pub(crate) fn pytorch(path: &Path) -> bool {
    let file = PytorchFile::open(path);
    if let Ok(file) = &file {
        read_all(file);
    }
    file.is_ok()
}

/// The names that tensors of quantized layers have after their module's.
const SUFFIXES: [&str; 26] = [
    ".weight",
    ".weight_scale_inv",
    ".weight_scale",
    ".weight_scale_2",
    ".qscale_weight",
    ".weight_packed",
    ".weight_shape",
    ".weight_zero_point",
    ".weight_g_idx",
    ".weight_global_scale",
    ".qweight",
    ".qzeros",
    ".scales",
    ".g_idx",
    ".weight.absmax",
    ".weight.quant_map",
    ".weight.nested_absmax",
    ".weight.nested_quant_map",
    ".weight.quant_state.bitsandbytes__nf4",
    ".weight.quant_state.bitsandbytes__fp4",
    ".SCB",
    ".weight_format",
    "_blocks",
    "_scales",
    ".input_scale",
    ".input_global_scale",
];
const MODULES: [&str; 2] = [
    "model.layers.0.self_attn.q_proj",
    "model.layers.0.mlp.experts.gate_up_proj",
];
const DTYPES: [Dtype; 10] = [
    Dtype::I32,
    Dtype::U8,
    Dtype::F16,
    Dtype::F32,
    Dtype::BF16,
    Dtype::F8_E4M3,
    Dtype::F8_E8M0,
    Dtype::I8,
    Dtype::I64,
    Dtype::F8_E5M2,
];

/// A tensor of a seed: what follows its module's name, dtype, shape, and its bytes where they matter.
type Seed<'a> = (&'a str, Dtype, &'a [u8], &'a [u8]);

/// The input of [`quantized`] that holds a configuration and these tensors.
fn quantized_input(config: &str, tensors: &[Seed<'_>]) -> Vec<u8> {
    let mut out = config.as_bytes().to_vec();
    out.push(0);
    let place = |at: Option<usize>| at.unwrap_or_default() as u8;
    for (suffix, dtype, shape, bytes) in tensors {
        out.push(place(SUFFIXES.iter().position(|s| s == suffix)));
        out.push(place(DTYPES.iter().position(|d| d == dtype)));
        if bytes.is_empty() {
            out.extend([1, shape.len() as u8]);
            out.extend(*shape);
        } else {
            out.extend([0xff, bytes.len() as u8]);
            out.extend(*bytes);
        }
    }
    out
}

/// An input of `quantized` for each method.
#[expect(clippy::too_many_lines, reason = "a table of inputs")]
pub fn quantized_seeds() -> Vec<(&'static str, Vec<u8>)> {
    let of = |method: &str, more: &str| {
        format!(r#"{{"quantization_config":{{"quant_method":"{method}"{more}}}}}"#)
    };
    let group =
        r#","config_groups":{"group_0":{"weights":{"num_bits":4,"group_size":8}}},"format":"pack-quantized""#;
    let state = br#"{"blocksize":64,"shape":[8,8],"dtype":"bfloat16","quant_type":"nf4"}"#;
    let nested =
        br#"{"blocksize":16,"shape":[8,8],"dtype":"float16","nested_blocksize":4,"nested_offset":0.5}"#;
    let (f32, u8, i32) = (Dtype::F32, Dtype::U8, Dtype::I32);
    vec![
        (
            "fp8",
            quantized_input(
                &of("fp8", r#","weight_block_size":[4,4]"#),
                &[
                    (".weight", Dtype::F8_E4M3, &[8, 8], b""),
                    (".weight_scale_inv", f32, &[2, 2], b""),
                ],
            ),
        ),
        (
            "gptq",
            quantized_input(
                &of("gptq", r#","bits":4,"group_size":8,"desc_act":true"#),
                &[
                    (".qweight", i32, &[2, 16], b""),
                    (".qzeros", i32, &[2, 2], b""),
                    (".scales", Dtype::F16, &[2, 16], b""),
                ],
            ),
        ),
        (
            "awq",
            quantized_input(
                &of("awq", r#","bits":4,"group_size":8,"version":"gemm""#),
                &[
                    (".qweight", i32, &[16, 2], b""),
                    (".qzeros", i32, &[2, 2], b""),
                    (".scales", Dtype::F16, &[2, 16], b""),
                ],
            ),
        ),
        (
            "compressed-tensors",
            quantized_input(
                &of("compressed-tensors", group),
                &[
                    (".weight_packed", i32, &[8, 2], b""),
                    (".weight_scale", Dtype::BF16, &[8, 2], b""),
                    (".weight_shape", i32, &[], &[8, 0, 0, 0, 16, 0, 0, 0]),
                ],
            ),
        ),
        (
            "compressed-tensors-dense",
            quantized_input(
                &of(
                    "compressed-tensors",
                    r#","config_groups":{"group_0":{"weights":{"num_bits":3}}}"#,
                ),
                &[
                    (".weight_packed", i32, &[8, 3], b""),
                    (".weight_scale", Dtype::BF16, &[8, 1], b""),
                    (".weight_shape", i32, &[], &[8, 0, 0, 0, 32, 0, 0, 0]),
                    (".weight_zero_point", i32, &[1, 1], b""),
                ],
            ),
        ),
        (
            "mxfp6",
            quantized_input(
                &of("compressed-tensors", ""),
                &[
                    (".weight_packed", u8, &[8, 48], b""),
                    (".weight_scale", u8, &[8, 2], b""),
                ],
            ),
        ),
        (
            "mxfp8",
            quantized_input(
                &of("compressed-tensors", ""),
                &[
                    (".weight", Dtype::F8_E4M3, &[8, 32], b""),
                    (".weight_scale", u8, &[8, 1], b""),
                ],
            ),
        ),
        (
            "bitsandbytes-nf4",
            quantized_input(
                &of("bitsandbytes", r#","load_in_4bit":true"#),
                &[
                    (".weight", u8, &[32, 1], b""),
                    (".weight.absmax", f32, &[1], b""),
                    (".weight.quant_map", f32, &[16], b""),
                    (".weight.quant_state.bitsandbytes__nf4", u8, &[], state),
                ],
            ),
        ),
        (
            "bitsandbytes-nested",
            quantized_input(
                &of("bitsandbytes", r#","load_in_4bit":true"#),
                &[
                    (".weight", u8, &[32, 1], b""),
                    (".weight.absmax", u8, &[4], b""),
                    (".weight.quant_map", f32, &[16], b""),
                    (".weight.nested_absmax", f32, &[1], b""),
                    (".weight.nested_quant_map", f32, &[255], b""),
                    (".weight.quant_state.bitsandbytes__nf4", u8, &[], nested),
                ],
            ),
        ),
        (
            "bitsandbytes-int8",
            quantized_input(
                &of("bitsandbytes", r#","load_in_8bit":true"#),
                &[(".weight", Dtype::I8, &[8, 8], b""), (".SCB", f32, &[8], b"")],
            ),
        ),
        (
            "bitnet",
            quantized_input(
                &of("bitnet", ""),
                &[
                    (".weight", u8, &[2, 8], b""),
                    (".weight_scale", Dtype::BF16, &[1], b""),
                ],
            ),
        ),
        (
            "mxfp4",
            quantized_input(
                &of("mxfp4", ""),
                &[
                    ("_blocks", u8, &[2, 4, 2, 16], b""),
                    ("_scales", u8, &[2, 4, 2], b""),
                ],
            ),
        ),
        (
            "nvfp4",
            quantized_input(
                &of("modelopt", ""),
                &[
                    (".weight", u8, &[4, 32], b""),
                    (".weight_scale", Dtype::F8_E4M3, &[4, 4], b""),
                    (".weight_scale_2", f32, &[1], b""),
                ],
            ),
        ),
    ]
}

/// A `config.json` up to a zero byte, then tensors of a quantized checkpoint: name, dtype, fill, number of
/// dimensions, dimensions; with a fill of 255, length and bytes. Returns whether it could be read.
pub(crate) fn quantized(dir: &Path, data: &[u8]) -> bool {
    let mut parts = data.splitn(2, |&b| b == 0);
    let config = parts.next().unwrap_or_default();
    let mut rest = parts.next().unwrap_or_default();
    let mut header = serde_json::Map::new();
    let mut contents: Vec<u8> = Vec::new();
    while let [name, dtype, fill, count, tail @ ..] = rest {
        let start = contents.len();
        let dtype = DTYPES[usize::from(*dtype) % DTYPES.len()];
        let shape: Vec<u64>;
        let used = usize::from(*count).min(tail.len());
        if *fill == 0xff {
            let width = (dtype.bitsize() / 8).max(1);
            shape = vec![(used / width) as u64];
            contents.extend(&tail[..used / width * width]);
            rest = &tail[used..];
        } else {
            let used = used % 5;
            // 255 stands for 256, the length of tables.
            shape = tail[..used]
                .iter()
                .map(|&d| if d == 255 { 256 } else { d.into() })
                .collect();
            let elements = shape.iter().product::<u64>() as usize;
            let bytes = elements.saturating_mul(dtype.bitsize()) / 8;
            if bytes > MAX_DATA - contents.len() {
                return false;
            }
            contents.extend((0..bytes).map(|i| fill.wrapping_mul(i as u8).rotate_left(i as u32 % 8)));
            rest = &tail[used..];
        }
        let module = MODULES[usize::from(*name) / SUFFIXES.len() % MODULES.len()];
        let name = format!("{module}{}", SUFFIXES[usize::from(*name) % SUFFIXES.len()]);
        header.insert(
            name,
            serde_json::json!({"dtype": dtype.to_string(), "shape": shape,
                "data_offsets": [start, contents.len()]}),
        );
        if contents.len() > MAX_DATA {
            return false;
        }
    }
    let header = serde_json::Value::Object(header).to_string();
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend(contents);
    if std::fs::write(dir.join("model.safetensors"), bytes).is_err() {
        return false;
    }
    let config = serde_json::from_slice(config).unwrap_or_default();
    [false, true].into_iter().all(|keep_blocks| {
        let (Ok(mut parts), Ok(Some(config))) = (
            Parts::open(dir, Naming::Transformers, false),
            QuantConfig::find(dir, &config),
        ) else {
            return false;
        };
        let rewritten = rewrite(&mut parts, dir, &config, keep_blocks);
        parts.files.iter().for_each(|file| read_all(file.as_ref()));
        rewritten.is_ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_reach_the_decoders() {
        for (name, seed) in quantized_seeds() {
            let dir = tempfile::tempdir().unwrap();
            assert!(quantized(dir.path(), &seed), "{name}");
        }
    }
}
