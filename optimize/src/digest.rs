//! The name of a calibration: a digest of its tokens.

use sha2::{Digest as _, Sha256};

/// SHA-256 of the windows' lengths and tokens, in hexadecimal digits.
pub fn digest(windows: &[Vec<u32>]) -> String {
    let mut state = Sha256::new();
    for window in windows {
        state.update((window.len() as u64).to_le_bytes());
        for token in window {
            state.update(token.to_le_bytes());
        }
    }
    state
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
