//! Data that is zero where a model has weights: what a download that was cut short, or never written, leaves behind.
//!
//! Some tensors are zero for good: biases and norms, token types of models that have one, the second half of an
//! adapter that was not trained, rows of embeddings that no token uses. So vectors are never reported by
//! themselves, a single matrix is a warning, and a run of tensors that reaches the end of the data is an error.

use gguf::{TensorInfo, TensorType};

use super::Finding;

/// Matrices in a run of zero tensors inside the data that are no chance.
const RUN_INSIDE: usize = 3;
/// The same at its end.
const RUN_AT_END: usize = 2;
/// Bytes of zeros at the end of a tensor that tell where a file was cut.
const CUT_BYTES: u64 = 64;
/// Most tensors of a run that are named.
const NAMED: usize = 3;

/// Zeros in a piece of a tensor, or in a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Zeros {
    pub(super) bytes: u64,
    /// Zero bytes at the end.
    pub(super) trailing: u64,
    /// Whether every weight is zero, whatever its bytes.
    pub(super) is_zero: bool,
}

impl Zeros {
    pub(super) const NONE: Self = Self {
        bytes: 0,
        trailing: 0,
        is_zero: true,
    };

    /// Of blocks, whose weights are `weights` where they have been decoded.
    pub(super) fn of(ty: TensorType, bytes: &[u8], weights: Option<&[f32]>) -> Self {
        let length = bytes.len() as u64;
        let trailing = bytes.iter().rev().take_while(|&&b| b == 0).count() as u64;
        let is_zero =
            trailing == length || weights.is_some_and(|w| w.iter().all(|&w| w == 0.0)) && ty.is_quantized();
        Self {
            bytes: length,
            trailing,
            is_zero,
        }
    }

    /// Of this piece and the one after it.
    pub(super) fn then(self, next: Self) -> Self {
        let trailing = if next.trailing == next.bytes {
            self.trailing + next.trailing
        } else {
            next.trailing
        };
        Self {
            bytes: self.bytes + next.bytes,
            trailing,
            is_zero: self.is_zero && next.is_zero,
        }
    }

    fn all_bytes(self) -> bool {
        self.trailing == self.bytes
    }
}

/// More than one row and more than one column, and not known to be zero in some models.
fn is_matrix(info: &TensorInfo) -> bool {
    let dimensions = info.shape.iter().filter(|&&n| n > 1).count();
    dimensions > 1 && info.name != "token_types.weight" && !info.name.ends_with(".lora_b")
}

/// Findings about the tensors of one file.
pub(super) fn findings(file: &str, tensors: &[(&TensorInfo, Zeros)]) -> Vec<Finding> {
    let mut tensors: Vec<&(&TensorInfo, Zeros)> = tensors.iter().filter(|(_, z)| z.bytes > 0).collect();
    tensors.sort_by_key(|(info, _)| info.offset);
    let mut found = Vec::new();
    let mut at = 0;
    // Once more after a last tensor that is not all zero: its end may be.
    while at <= tensors.len() {
        let length = tensors[at..].iter().take_while(|(_, z)| z.all_bytes()).count();
        let run = &tensors[at..at + length];
        let before = at.checked_sub(1).map(|i| tensors[i]);
        let is_end = at + length == tensors.len();
        found.extend(judge(file, before, run, is_end));
        at += length;
        // The tensor that ends the run.
        if let Some((info, zeros)) = tensors.get(at)
            && zeros.is_zero
            && is_matrix(info)
        {
            found.push(zero_matrix(info));
        }
        at += 1;
    }
    found
}

fn zero_matrix(info: &TensorInfo) -> Finding {
    Finding::warning(
        format!("tensor '{}'", info.name),
        format!("all of its {} weights are zero", info.elements()),
    )
}

/// A run of tensors without a byte that is not zero, and the tensor before it.
fn judge(
    file: &str,
    before: Option<&(&TensorInfo, Zeros)>,
    run: &[&(&TensorInfo, Zeros)],
    is_end: bool,
) -> Vec<Finding> {
    let matrices: Vec<&TensorInfo> = run
        .iter()
        .map(|(info, _)| *info)
        .filter(|i| is_matrix(i))
        .collect();
    let is_cut = before.is_some_and(|(info, z)| is_matrix(info) && z.trailing >= CUT_BYTES);
    let is_gap = match is_end {
        true => matrices.len() >= RUN_AT_END || (!matrices.is_empty() && is_cut),
        false => matrices.len() >= RUN_INSIDE,
    };
    if !is_gap {
        let mut found: Vec<Finding> = matrices.into_iter().map(zero_matrix).collect();
        // Rows of embeddings that no token uses are zero in good models.
        let large = |(info, z): &&(&TensorInfo, Zeros)| {
            let is_embedding = matches!(info.name.as_str(), "token_embd.weight" | "output.weight");
            is_matrix(info) && !is_embedding && z.trailing >= CUT_BYTES && z.trailing > z.bytes / 16
        };
        if let Some((info, zeros)) = before.filter(|t| is_end && large(t)) {
            found.push(Finding::warning(
                format!("tensor '{}'", info.name),
                format!(
                    "the last {} of its {} bytes are zero, as are those of the file (cut short?)",
                    zeros.trailing, zeros.bytes
                ),
            ));
        }
        return found;
    }
    let mut names: Vec<&str> = run.iter().map(|(info, _)| info.name.as_str()).collect();
    let more = names.len().saturating_sub(NAMED);
    names.truncate(NAMED);
    let mut told = names.join(", ");
    if more > 0 {
        let last = run.last().map_or("", |(info, _)| info.name.as_str());
        told += &format!(" and {more} more, up to {last}");
    }
    let bytes: u64 = run.iter().map(|(_, zeros)| zeros.bytes).sum();
    let place = if is_end { ", to the end of the data" } else { "" };
    let mut message = format!(
        "{} tensors of {bytes} bytes are nothing but zeros{place}, weights expected (a download that was cut short?): \
         {told}",
        run.len()
    );
    if let Some((info, zeros)) = before.filter(|_| is_cut) {
        message += &format!(
            "; before them, the last {} bytes of {}",
            zeros.trailing, info.name
        );
    }
    vec![Finding::error(file, message)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::Severity;

    fn info(name: &str, shape: &[u64], offset: u64) -> TensorInfo {
        TensorInfo {
            name: name.into(),
            shape: shape.to_vec(),
            ty: TensorType::F32,
            offset,
        }
    }

    /// Tensors of 400 bytes (matrices of 10 x 10; vectors where the name ends with `bias`), of which so many at the
    /// end are zero.
    fn check(tensors: &[(&str, u64)]) -> Vec<(Severity, String)> {
        let infos: Vec<TensorInfo> = tensors
            .iter()
            .enumerate()
            .map(|(i, (name, _))| {
                let shape: &[u64] = if name.ends_with("bias") { &[100] } else { &[10, 10] };
                info(name, shape, 400 * i as u64)
            })
            .collect();
        let zeros = tensors.iter().map(|&(_, trailing)| Zeros {
            bytes: 400,
            trailing,
            is_zero: trailing == 400,
        });
        let pairs: Vec<_> = infos.iter().zip(zeros).collect();
        let found = findings("f", &pairs);
        found
            .into_iter()
            .map(|f| (f.severity, f.subject + ": " + &f.message))
            .collect()
    }

    fn says(tensors: &[(&str, u64)], severity: Severity, parts: &[&str]) {
        let found = check(tensors);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].0, severity, "{found:?}");
        for part in parts {
            assert!(found[0].1.contains(part), "{part:?} is not in {found:?}");
        }
    }

    #[test]
    fn runs_to_the_end_are_errors() {
        use Severity::{Error, Warning};
        let cut = [("a", 0), ("b", 100), ("c", 400), ("d.bias", 400)];
        says(
            &cut,
            Error,
            &[
                "f: 2 tensors of 800 bytes",
                "c, d.bias",
                "the last 100 bytes of b",
            ],
        );
        says(
            &[("a", 0), ("b", 400), ("c", 400)],
            Error,
            &["2 tensors", "to the end", "b, c"],
        );
        let many = [("a", 400), ("b", 400), ("c", 400), ("d", 400), ("e", 400)];
        says(&many, Error, &["5 tensors", "a, b, c and 2 more, up to e"]);
        says(
            &[("a", 0), ("b", 0), ("c", 200)],
            Warning,
            &["tensor 'c'", "the last 200 of its 400 bytes"],
        );
    }

    #[test]
    fn holes_and_single_matrices() {
        use Severity::{Error, Warning};
        says(
            &[("a", 0), ("b", 400), ("c", 400), ("d", 400), ("e", 0)],
            Error,
            &["3 tensors", "b, c, d"],
        );
        says(
            &[("a", 0), ("b", 400), ("c", 0)],
            Warning,
            &["tensor 'b'", "100 weights are zero"],
        );
        says(&[("a", 0), ("b", 400)], Warning, &["tensor 'b'"]);
    }

    #[test]
    fn what_is_zero_for_good_is_not_told() {
        for tensors in [
            &[("a", 0), ("b.bias", 400), ("c.bias", 400), ("d.bias", 400)][..],
            &[("a", 0), ("token_types.weight", 400), ("c", 0)],
            &[("a", 0), ("x.lora_b", 400)],
            &[("a", 0), ("output.weight", 300)],
            &[("a", 8), ("b", 12)],
            &[],
        ] {
            assert_eq!(check(tensors), [], "{tensors:?}");
        }
    }

    #[test]
    fn blocks_of_zeros_need_not_be_zero_bytes() {
        let weights = [0.0f32; 32];
        let mut blocks = vec![0; TensorType::Q4_0.block_bytes()];
        quants::encode(TensorType::Q4_0, &weights, 32, None, &mut blocks).unwrap();
        let zeros = Zeros::of(TensorType::Q4_0, &blocks, Some(&weights));
        assert!(zeros.is_zero);
        assert_eq!(
            zeros
                .then(Zeros {
                    bytes: 2,
                    trailing: 2,
                    is_zero: true
                })
                .bytes,
            20
        );
        let piece = |bytes: &[u8]| Zeros::of(TensorType::F32, bytes, None);
        assert_eq!(piece(&[1, 0, 0]).then(piece(&[0, 0])).trailing, 4);
        assert_eq!(piece(&[1, 0, 0]).then(piece(&[1, 0])).trailing, 1);
        assert!(!piece(&[1, 0]).is_zero && piece(&[0, 0]).is_zero);
    }
}
