//! Turning one form's sums into the other's, and merging matrices.

use crate::{Entry, Form, ImportanceMatrix};

/// Two matrices do not describe the same model.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("tensor '{tensor}': expected {ours} sums, found {theirs}")]
#[non_exhaustive]
pub struct Mismatch {
    /// The tensor.
    pub tensor: String,
    /// Sums (or counts) held so far.
    pub ours: usize,
    /// Sums (or counts) to be added.
    pub theirs: usize,
}

impl ImportanceMatrix {
    /// This matrix with plain sums and token counts. A legacy file holds means times calls; each call
    /// stands for a window of `chunk_size` tokens, as llama-imatrix reads it.
    pub fn to_gguf_form(mut self, chunk_size: u32) -> Self {
        if self.form == Form::Legacy {
            let tokens = chunk_size as f32;
            for entry in self.entries.values_mut() {
                entry.sums.iter_mut().for_each(|s| *s *= tokens);
                entry.counts.iter_mut().for_each(|c| *c *= tokens);
            }
            self.form = Form::Gguf;
            self.chunk_size = chunk_size;
        }
        self
    }

    /// This matrix as the legacy form holds it: for each tensor one number of calls (windows, rounded
    /// up) and the means times that number. Experts without a token get 1; tensors without any are left
    /// out, for the form cannot say so.
    pub fn to_legacy_form(mut self) -> Self {
        if self.form == Form::Legacy {
            return self;
        }
        let chunk_size = self.chunk_size.max(1) as f32;
        self.entries.retain(|_, e| e.counts.iter().any(|&c| c > 0.0));
        for entry in self.entries.values_mut() {
            let most = entry.counts.iter().fold(0f32, |a, &b| a.max(b));
            let calls = (most / chunk_size).ceil();
            let columns = entry.sums.len() / entry.counts.len().max(1);
            for (sums, &count) in entry.sums.chunks_mut(columns.max(1)).zip(&entry.counts) {
                for s in sums {
                    *s = if count == 0.0 { calls } else { (*s / count) * calls };
                }
            }
            entry.counts = vec![calls];
        }
        self.form = Form::Legacy;
        self
    }

    /// Adds another matrix, both in the GGUF form. A single count stands for every expert where the
    /// other matrix counts them one by one.
    ///
    /// # Errors
    /// When a tensor has another number of sums or counts; then nothing is added.
    pub fn merge(&mut self, other: &Self) -> Result<(), Mismatch> {
        let mismatch = |tensor: &str, ours, theirs| Mismatch {
            tensor: tensor.to_owned(),
            ours,
            theirs,
        };
        for (name, theirs) in other.entries.iter() {
            let Some(ours) = self.entries.get(name) else {
                continue;
            };
            if ours.sums.len() != theirs.sums.len() {
                return Err(mismatch(name, ours.sums.len(), theirs.sums.len()));
            }
            if ours.counts.len() != theirs.counts.len() && ours.counts.len() != 1 {
                return Err(mismatch(name, ours.counts.len(), theirs.counts.len()));
            }
        }
        for (name, theirs) in other.entries.iter() {
            let ours = self.entries.get_or_insert_with(name, || Entry {
                sums: vec![0.0; theirs.sums.len()],
                counts: vec![0.0; theirs.counts.len()],
            });
            if ours.counts.len() != theirs.counts.len() {
                ours.counts = vec![ours.counts[0]; theirs.counts.len()];
            }
            ours.sums.iter_mut().zip(&theirs.sums).for_each(|(a, b)| *a += b);
            ours.counts
                .iter_mut()
                .zip(&theirs.counts)
                .for_each(|(a, b)| *a += b);
        }
        self.datasets.extend(other.datasets.iter().cloned());
        self.chunk_size = self.chunk_size.max(other.chunk_size);
        let most = self
            .entries
            .iter()
            .flat_map(|(_, e)| &e.counts)
            .fold(0f32, |a, &b| a.max(b));
        self.chunk_count = (most / self.chunk_size.max(1) as f32) as u32;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(name: &str, sums: &[f32], counts: &[f32]) -> ImportanceMatrix {
        let mut m = ImportanceMatrix {
            chunk_size: 4,
            ..Default::default()
        };
        m.entries.insert(
            name.to_owned(),
            Entry {
                sums: sums.to_vec(),
                counts: counts.to_vec(),
            },
        );
        m
    }

    #[test]
    fn merging_adds_sums_and_counts() {
        let mut a = one("x", &[1.0, 2.0], &[4.0]);
        a.merge(&one("x", &[3.0, 4.0], &[8.0])).unwrap();
        a.merge(&one("y", &[1.0], &[4.0])).unwrap();
        assert_eq!(
            a.entries["x"],
            Entry {
                sums: vec![4.0, 6.0],
                counts: vec![12.0]
            }
        );
        assert_eq!(a.chunk_count, 3);
        let err = a.merge(&one("x", &[3.0], &[8.0])).unwrap_err();
        assert_eq!(
            err,
            Mismatch {
                tensor: "x".into(),
                ours: 2,
                theirs: 1
            }
        );
    }

    #[test]
    fn the_legacy_form_keeps_the_means() {
        let gguf = one("x", &[8.0, 16.0], &[8.0]);
        let legacy = gguf.clone().to_legacy_form();
        assert_eq!(
            legacy.entries["x"],
            Entry {
                sums: vec![2.0, 4.0],
                counts: vec![2.0]
            }
        );
        assert_eq!(legacy.values("x"), gguf.values("x"));
        assert_eq!(legacy.to_gguf_form(4).entries["x"], gguf.entries["x"]);
    }

    #[test]
    fn the_legacy_form_leaves_out_what_saw_nothing() {
        let legacy = one("x", &[8.0, 0.0], &[8.0, 0.0]).to_legacy_form();
        assert_eq!(
            legacy.entries["x"],
            Entry {
                sums: vec![2.0, 2.0],
                counts: vec![2.0]
            }
        );
        assert!(one("y", &[0.0], &[0.0]).to_legacy_form().entries.is_empty());
    }
}
