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
    let model = GgufModel::open(stock)?;
    if let Some(difference) = in_metadata(source, &model).into_iter().next() {
        bail!(difference);
    }
    same_tensors(source, &model)?;
    let mut apart = 0;
    for index in 0..source.tensors().len() {
        apart += tensor_apart(source, &model, index)?;
    }
    Ok(apart)
}

/// All differences between an unquantized `source` and the file: of keys, their order, tensors and their bytes.
///
/// # Errors
/// A file or source that cannot be read.
pub fn differences(source: &dyn Source, file: &Path) -> Result<Vec<String>> {
    let model = GgufModel::open(file)?;
    let mut found = in_metadata(source, &model);
    if let Err(difference) = same_tensors(source, &model) {
        let sorted = |mut names: Vec<String>| {
            names.sort_unstable();
            names
        };
        let ours = sorted(source.tensors().iter().map(|t| t.name.clone()).collect());
        let theirs = sorted(model.tensors().map(|t| t.info.name.clone()).collect());
        if ours != theirs {
            found.push(format!("{difference:#}"));
            return Ok(found);
        }
        found.push("the same tensors in another order".to_owned());
    }
    for (index, tensor) in source.tensors().iter().enumerate() {
        match tensor_apart(source, &model, index) {
            Ok(0) => {}
            Ok(apart) => found.push(format!("{}: {apart} values differ", tensor.name)),
            Err(difference) => found.push(format!("{difference:#}")),
        }
    }
    Ok(found)
}

/// Keys that are missing, too many, of another value or in another order.
pub fn in_metadata(source: &dyn Source, model: &GgufModel) -> Vec<String> {
    let mut found = Vec::new();
    for (key, value) in model.metadata().iter() {
        match source.metadata().get(key) {
            None => found.push(format!("{key} is missing; {} expected", shortened(value))),
            Some(ours) if ours != value => {
                found.push(format!("{key}: {}", apart(ours, value)));
            }
            Some(_) => {}
        }
    }
    for (key, value) in source.metadata().iter() {
        if model.metadata().get(key).is_none() {
            found.push(format!("{key} is {}, not expected", shortened(value)));
        }
    }
    let keys = |m: &gguf::Metadata| m.iter().map(|(k, _)| k.to_owned()).collect::<Vec<_>>();
    let (ours, theirs) = (keys(source.metadata()), keys(model.metadata()));
    if found.is_empty() && ours != theirs {
        found.push(format!("keys in order:\n{ours:?}\nexpected\n{theirs:?}"));
    }
    found
}

/// Two values that differ, of arrays only the first element that does.
fn apart(ours: &gguf::Value, theirs: &gguf::Value) -> String {
    let (a, b) = (format!("{ours:?}"), format!("{theirs:?}"));
    let same = a.chars().zip(b.chars()).take_while(|(a, b)| a == b).count();
    match same > 200 {
        false => format!("{} is not {}", shortened(ours), shortened(theirs)),
        true => {
            let part = |text: &str| text.chars().skip(same - 60).take(120).collect::<String>();
            format!("…{}… is not …{}…", part(&a), part(&b))
        }
    }
}

fn same_tensors(source: &dyn Source, model: &GgufModel) -> Result<()> {
    let names: Vec<&str> = source.tensors().iter().map(|t| t.name.as_str()).collect();
    let expected: Vec<&str> = model.tensors().map(|t| t.info.name.as_str()).collect();
    ensure!(
        names == expected,
        "tensors in order:\n{names:?}\nexpected\n{expected:?}"
    );
    Ok(())
}

/// Decay rates of a tensor that are a unit in the last place apart.
fn tensor_apart(source: &dyn Source, model: &GgufModel, index: usize) -> Result<usize> {
    let ours = &source.tensors()[index];
    let theirs = model.tensors().find(|t| t.info.name == ours.name);
    let theirs = theirs.with_context(|| format!("{}: no such tensor", ours.name))?;
    let (name, info, place) = (&ours.name, theirs.info, theirs.index);
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
    let (mut row, mut apart) = (0, 0);
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
        let expected = model.bytes(place, rows.start * row_bytes..rows.end * row_bytes)?;
        if name.ends_with(".ssm_a") && info.ty == gguf::TensorType::F32 {
            apart += rates_apart(&bytes, &expected).with_context(|| name.clone())?;
        } else if let Some(at) = bytes.iter().zip(expected.iter()).position(|(a, b)| a != b) {
            bail!("{name} ({}): byte {} of row {row} on differs", info.ty, at);
        }
        row = rows.end;
    }
    Ok(apart)
}

/// Number of these f32 that differ, by no more than a unit in the last place.
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
