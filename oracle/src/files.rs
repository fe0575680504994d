//! Comparing a converted model with the file that the stock converter makes of it.

use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use convert::source::Source;
use gguf::GgufModel;

/// Weights compared at a time.
const CHUNK: u64 = 1 << 20;

/// Whether an unquantized `source` is, key by key and tensor by tensor, what the file `stock` holds:
/// keys, their order and values; tensors, their order, shapes, types and bytes. Only decay rates (`ssm_a`), where
/// exp is rounded correctly here and not there, may be a unit in the last place apart; how many are is returned.
///
/// # Errors
/// The first difference.
pub fn compare_with(source: &dyn Source, stock: &Path) -> Result<usize> {
    let mut apart = 0;
    let model = GgufModel::open(stock)?;
    let keys = |m: &gguf::Metadata| m.iter().map(|(k, _)| k.to_owned()).collect::<Vec<_>>();
    for (key, value) in model.metadata().iter() {
        let ours = source
            .metadata()
            .get(key)
            .with_context(|| format!("{key} is missing"))?;
        ensure!(
            ours == value,
            "{key}: {} is not {}",
            shortened(ours),
            shortened(value)
        );
    }
    let (ours, theirs) = (keys(source.metadata()), keys(model.metadata()));
    ensure!(ours == theirs, "keys in order:\n{ours:?}\nexpected\n{theirs:?}");

    let names: Vec<&str> = source.tensors().iter().map(|t| t.name.as_str()).collect();
    let expected: Vec<&str> = model.tensors().map(|t| t.info.name.as_str()).collect();
    ensure!(
        names == expected,
        "tensors in order:\n{names:?}\nexpected\n{expected:?}"
    );
    for (index, (ours, theirs)) in source.tensors().iter().zip(model.tensors()).enumerate() {
        let (name, info) = (&ours.name, theirs.info);
        ensure!(
            ours.shape == info.shape,
            "{name}: {:?} is not {:?}",
            ours.shape,
            info.shape
        );
        ensure!(ours.ty == info.ty, "{name}: {} is not {}", ours.ty, info.ty);
        let row_len = info.row_len();
        let row_bytes = info.ty.row_bytes(row_len).context("a row of whole blocks")?;
        let rows_at_once = (CHUNK / row_len).max(1);
        let mut row = 0;
        while row < info.rows() {
            let rows = row..(row + rows_at_once).min(info.rows());
            let count = rows.end - rows.start;
            let bytes = match source.raw_rows(index, rows.clone())? {
                Some(bytes) => bytes.into_owned(),
                None => {
                    let mut weights = vec![0f32; (count * row_len) as usize];
                    source.read_rows(index, rows.clone(), &mut weights)?;
                    let mut bytes = vec![0u8; (count * row_bytes) as usize];
                    quants::encode(info.ty, &weights, row_len as usize, None, &mut bytes)?;
                    bytes
                }
            };
            let expected = model.bytes(index, rows.start * row_bytes..rows.end * row_bytes)?;
            if name.ends_with(".ssm_a") && info.ty == gguf::TensorType::F32 {
                apart += rates_apart(&bytes, &expected).with_context(|| name.clone())?;
            } else if let Some(at) = bytes.iter().zip(expected.iter()).position(|(a, b)| a != b) {
                bail!("{name} ({}): byte {} of row {row} on differs", info.ty, at);
            }
            row = rows.end;
        }
    }
    Ok(apart)
}

/// How many of these f32 differ, by no more than a unit in the last place.
fn rates_apart(ours: &[u8], theirs: &[u8]) -> Result<usize> {
    let bits = |bytes: &[u8]| -> Vec<i64> {
        let words = bytes.as_chunks::<4>().0;
        words.iter().map(|b| u32::from_le_bytes(*b).into()).collect()
    };
    let pairs = bits(ours).into_iter().zip(bits(theirs));
    let distances: Vec<i64> = pairs.map(|(a, b)| (a - b).abs()).collect();
    ensure!(
        distances.iter().all(|&d| d <= 1),
        "values more than a unit in the last place apart"
    );
    Ok(distances.iter().filter(|&&d| d > 0).count())
}

fn shortened(value: &gguf::Value) -> String {
    let text = format!("{value:?}");
    match text.char_indices().nth(200) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
