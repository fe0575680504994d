//! The report for people.

use std::io::{self, Write};

use gguf::{Array, GgufModel, GgufString, Value};

use super::{Listed, Summary, listed};
use crate::output::human_size;

/// Elements of an array that are shown.
const SHOWN_ELEMENTS: usize = 6;
/// Characters of a string that are shown.
const SHOWN_CHARS: usize = 100;

/// Header, metadata, sums over types, and the tensors when they are asked for.
pub(super) fn report(
    out: &mut dyn Write,
    model: &GgufModel,
    summary: &Summary,
    tensors: bool,
) -> io::Result<()> {
    header(out, model, summary)?;
    metadata(out, model)?;
    types(out, summary)?;
    if tensors { list(out, model) } else { Ok(()) }
}

fn header(out: &mut dyn Write, model: &GgufModel, summary: &Summary) -> io::Result<()> {
    for (i, f) in model.files().iter().enumerate() {
        writeln!(
            out,
            "{:<11}{}",
            if i == 0 { "file" } else { "" },
            f.path().display()
        )?;
    }
    let first = &model.files()[0];
    writeln!(
        out,
        "format     GGUF version {}, {}-endian, alignment {}",
        first.version(),
        first.endian(),
        first.alignment()
    )?;
    writeln!(
        out,
        "size       {} bytes ({})",
        summary.file_bytes,
        human_size(summary.file_bytes)
    )?;
    let count: usize = summary.types.iter().map(|t| t.tensors).sum();
    write!(out, "tensors    {count} with {} weights", summary.weights)?;
    match summary.bits_per_weight() {
        Some(bits) => writeln!(out, ", {bits:.4} bits per weight")?,
        None => writeln!(out)?,
    }
    for f in model.files().iter().filter(|f| !f.has_data()) {
        let present = f.length().saturating_sub(f.data_offset());
        let (path, needed) = (f.path().display(), f.header().data_len);
        writeln!(
            out,
            "data       incomplete in {path}: {present} of {needed} bytes"
        )?;
    }
    Ok(())
}

fn metadata(out: &mut dyn Write, model: &GgufModel) -> io::Result<()> {
    let metadata = model.metadata();
    writeln!(out, "\nmetadata   {} keys", metadata.len())?;
    let types: Vec<String> = metadata.iter().map(|(_, v)| type_of(v)).collect();
    let keys: Vec<String> = metadata.iter().map(|(k, _)| escaped(k, usize::MAX)).collect();
    let key_width = keys.iter().map(|k| k.chars().count()).max().unwrap_or(0).min(48);
    let type_width = types.iter().map(String::len).max().unwrap_or(0);
    for ((key, ty), (_, value)) in keys.iter().zip(&types).zip(metadata.iter()) {
        writeln!(out, "  {key:<key_width$}  {ty:<type_width$}  {}", shown(value))?;
    }
    Ok(())
}

fn types(out: &mut dyn Write, summary: &Summary) -> io::Result<()> {
    if summary.types.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "\n{:<10}{:>8}{:>18}{:>18}{:>9}",
        "type", "tensors", "weights", "bytes", "share"
    )?;
    for t in &summary.types {
        let share = 100.0 * t.bytes as f64 / summary.tensor_bytes as f64;
        let (name, bytes) = (t.name, t.bytes);
        writeln!(
            out,
            "{name:<10}{:>8}{:>18}{bytes:>18}{share:>8.2}%",
            t.tensors, t.weights
        )?;
    }
    Ok(())
}

fn list(out: &mut dyn Write, model: &GgufModel) -> io::Result<()> {
    let tensors = listed(model);
    let names: Vec<String> = tensors.iter().map(|t| escaped(t.name, usize::MAX)).collect();
    let shapes: Vec<String> = tensors.iter().map(|t| format!("{:?}", t.shape)).collect();
    let name_width = names.iter().map(|n| n.chars().count()).max().unwrap_or(0).max(6);
    let shape_width = shapes.iter().map(String::len).max().unwrap_or(0).max(5);
    let many = model.files().len() > 1;
    write!(
        out,
        "\n{:>6}  {:<name_width$}  {:<8}  ",
        "index", "tensor", "type"
    )?;
    write!(
        out,
        "{:<shape_width$}  {:>16}  {:>14}",
        "shape", "offset", "bytes"
    )?;
    writeln!(out, "{}", if many { "  file" } else { "" })?;
    for (index, (t, (name, shape))) in tensors.iter().zip(names.iter().zip(&shapes)).enumerate() {
        let Listed {
            ty,
            offset,
            bytes,
            file,
            ..
        } = t;
        write!(out, "{index:>6}  {name:<name_width$}  {ty:<8}  ")?;
        write!(out, "{shape:<shape_width$}  {offset:>16}  {bytes:>14}")?;
        if many {
            write!(out, "  {:>4}", file + 1)?;
        }
        writeln!(out)?;
    }
    Ok(())
}

fn type_of(value: &Value) -> String {
    match value {
        Value::Array(a) => format!("{}[{}]", a.element_type(), a.len()),
        other => other.value_type().to_string(),
    }
}

/// A value, cut to what fits in a line.
pub(crate) fn shown(value: &Value) -> String {
    match value {
        Value::U8(v) => v.to_string(),
        Value::I8(v) => v.to_string(),
        Value::U16(v) => v.to_string(),
        Value::I16(v) => v.to_string(),
        Value::U32(v) => v.to_string(),
        Value::I32(v) => v.to_string(),
        Value::U64(v) => v.to_string(),
        Value::I64(v) => v.to_string(),
        Value::F32(v) => v.to_string(),
        Value::F64(v) => v.to_string(),
        Value::Bool(v) => v.to_string(),
        Value::String(v) => quoted(v, SHOWN_CHARS),
        Value::Array(v) => elements(v),
    }
}

fn elements(array: &Array) -> String {
    fn some<T>(values: &[T], show: impl Fn(&T) -> String) -> String {
        let mut parts: Vec<String> = values.iter().take(SHOWN_ELEMENTS).map(show).collect();
        if values.len() > SHOWN_ELEMENTS {
            parts.push("…".into());
        }
        format!("[{}]", parts.join(", "))
    }
    match array {
        Array::U8(v) => some(v, u8::to_string),
        Array::I8(v) => some(v, i8::to_string),
        Array::U16(v) => some(v, u16::to_string),
        Array::I16(v) => some(v, i16::to_string),
        Array::U32(v) => some(v, u32::to_string),
        Array::I32(v) => some(v, i32::to_string),
        Array::U64(v) => some(v, u64::to_string),
        Array::I64(v) => some(v, i64::to_string),
        Array::F32(v) => some(v, f32::to_string),
        Array::F64(v) => some(v, f64::to_string),
        Array::Bool(v) => some(v, bool::to_string),
        Array::String(v) => some(v, |s| quoted(s, SHOWN_CHARS / SHOWN_ELEMENTS)),
        // Shown breadth and depth are both bounded.
        Array::Array(v) => some(v, elements),
    }
}

fn quoted(s: &GgufString, limit: usize) -> String {
    // A string can be gigabytes long: look at no more of it than can be shown.
    let bytes = &s.0[..s.0.len().min(limit.saturating_mul(4).saturating_add(4))];
    let cut = bytes.len() < s.0.len();
    let text = String::from_utf8_lossy(bytes);
    let mut shown = escaped(&text, limit).replace('"', "\\\"");
    if cut && !shown.ends_with('…') {
        shown.push('…');
    }
    format!("\"{shown}\"")
}

/// A key or name made safe for a terminal.
pub(crate) fn key(text: &str) -> String {
    escaped(text, usize::MAX)
}

/// Text of a stranger made safe for a terminal, and cut.
fn escaped(text: &str, limit: usize) -> String {
    let mut shown = String::new();
    for (i, c) in text.chars().enumerate() {
        if i >= limit {
            shown.push('…');
            break;
        }
        if c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(escaped("a\x1b[2Jb\n", 99), "a\\u{1b}[2Jb\\n");
        assert_eq!(escaped("\u{202e}x", 99), "\\u{202e}x");
    }

    #[test]
    fn long_strings_are_cut() {
        assert_eq!(quoted(&"é".repeat(99).into(), 3), "\"ééé…\"");
        assert_eq!(quoted(&"abc".into(), 3), "\"abc\"");
        assert_eq!(quoted(&"a\"c".into(), 3), "\"a\\\"c\"");
        assert!(elements(&Array::U8(vec![0; 1000])).len() < 40);
    }
}
