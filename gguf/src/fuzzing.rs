//! Bodies of fuzz targets: any bytes may be given; a panic is a finding.

use crate::split::{Limit, SplitOptions, plan};
use crate::{FilePlan, Header, Metadata, Writer};

/// Parses a header; what is accepted keeps the promises of [`crate::TensorInfo`].
pub fn header(data: &[u8]) {
    let Ok(header) = Header::parse_bytes(data) else {
        return;
    };
    let mut next = 0;
    for tensor in &header.tensors {
        assert!(tensor.elements() > 0 && tensor.size_bytes() > 0);
        assert!(tensor.offset >= next, "tensors overlap");
        next = tensor.offset + tensor.size_bytes();
    }
    assert!(header.data_offset >= header.end && header.end <= data.len() as u64);
}

/// Round trip: read, written and read again, a file is the same.
pub fn round_trip(data: &[u8]) {
    let Ok(first) = Header::parse_bytes(data) else {
        return;
    };
    let tensors = |h: &Header| -> Vec<_> {
        h.tensors
            .iter()
            .map(|t| (t.name.clone(), t.shape.clone(), t.ty))
            .collect()
    };
    // Names longer than stock llama.cpp reads are inspected and not written.
    let Ok(plan) = FilePlan::new(first.metadata.clone(), tensors(&first)) else {
        return;
    };
    let written = plan.header_bytes().expect("what was read can be written");
    let second = Header::parse_bytes(&written).expect("what was written can be read");
    let again = FilePlan::new(second.metadata.clone(), tensors(&second))
        .and_then(|p| p.header_bytes())
        .expect("and written again");
    assert!(written == again, "the second writing differs from the first");
    assert_eq!(plan.header_len(), written.len() as u64);
}

/// Cutting into shards loses and repeats no tensor, whatever the limit.
pub fn shards(data: &[u8]) {
    let Some((&limit, data)) = data.split_first() else {
        return;
    };
    let Ok(header) = Header::parse_bytes(data) else {
        return;
    };
    let tensors: Vec<_> = header
        .tensors
        .iter()
        .map(|t| (t.name.clone(), t.shape.clone(), t.ty))
        .collect();
    let options = SplitOptions {
        limit: if limit & 1 == 0 {
            Limit::Tensors(u64::from(limit >> 2))
        } else {
            Limit::Bytes(1 << (limit >> 2))
        },
        no_tensor_first_split: limit & 2 != 0,
    };
    if let Ok(plans) = plan(&header.metadata, tensors, &options) {
        let names = plans.iter().flat_map(|p| p.tensors.iter().map(|t| &t.name));
        assert!(names.eq(header.tensors.iter().map(|t| &t.name)));
    }
}

/// A file with this note of an interrupted edit beside it: recovered or refused, and never of another length.
pub fn undo_note(data: &[u8]) {
    let Ok(dir) = tempfile::tempdir() else { return };
    let path = dir.path().join("model.gguf");
    let mut metadata = Metadata::new();
    metadata.set("general.architecture", "llama");
    let Ok(plan) = FilePlan::new(metadata.clone(), Vec::new()) else {
        return;
    };
    if Writer::create(&path, &plan).and_then(Writer::finish).is_err() {
        return;
    }
    let length = |path| std::fs::metadata(path).map(|m| m.len()).ok();
    let before = length(&path);
    if std::fs::write(dir.path().join(".model.gguf.undo"), data).is_err() {
        return;
    }
    let _ = crate::edit::recover(&path);
    assert_eq!(length(&path), before);
    metadata.set("general.name", "other");
    let _ = crate::edit::set_metadata(&path, metadata, None, &mut |_| {});
}
