//! The references themselves: that they install and answer, so that no conformance test passes by
//! finding nothing to compare with.

#[test]
fn stock_encoder_answers() {
    let Some(python) = oracle::python() else { return };
    let dir = tempfile::tempdir().unwrap();
    let (rows, blocks) = (dir.path().join("rows.npy"), dir.path().join("blocks.bin"));
    // A .npy file: magic, version 1.0, header length, header padded to 64 bytes, data.
    let header = format!(
        "{:<117}\n",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 32), }"
    );
    let mut npy = b"\x93NUMPY\x01\x00".to_vec();
    npy.extend((header.len() as u16).to_le_bytes());
    npy.extend(header.as_bytes());
    npy.extend((0..32).flat_map(|i| (i as f32 - 16.0).to_le_bytes()));
    std::fs::write(&rows, npy).unwrap();
    python
        .run(
            "stock.py",
            [
                "encode".as_ref(),
                "q8_0".as_ref(),
                rows.as_os_str(),
                blocks.as_os_str(),
            ],
        )
        .unwrap();
    let block = std::fs::read(&blocks).unwrap();
    assert_eq!(block.len(), 34);
    assert_eq!(block[2] as i8, -127);
}

#[test]
fn sources_hold_vocabularies() {
    let Some(sources) = oracle::reference_sources() else {
        return;
    };
    assert!(sources.join("models/ggml-vocab-llama-bpe.gguf.out").exists());
    assert!(sources.join("convert_hf_to_gguf.py").exists());
}
