//! Bodies of fuzz targets: any bytes may be given; a panic is a finding.

use std::io::Write as _;

use crate::ImportanceMatrix;

/// Reads a file of either form, and uses what was read.
pub fn load(data: &[u8]) {
    let Ok(mut file) = tempfile::NamedTempFile::new() else {
        return;
    };
    if file.write_all(data).is_err() {
        return;
    }
    let Ok(matrix) = ImportanceMatrix::load(file.path()) else {
        return;
    };
    for name in matrix.entries.names() {
        let values = matrix.values(name).expect("every entry has values");
        assert_eq!(values.len(), matrix.entries[name].sums.len());
    }
    let _ = matrix.statistics();
    let _ = matrix.to_legacy_form();
}
