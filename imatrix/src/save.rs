//! Writing both file formats, as llama-imatrix lays them out: entries sorted by name.

use std::path::Path;

use gguf::{FilePlan, Metadata, TensorType, WholeFile, Writer, ggml_shape};

use crate::gguf_form::RUN;
use crate::{Entry, Error, Form, ImportanceMatrix, Result};

impl ImportanceMatrix {
    /// Writes the matrix in its [`Form`], under a temporary name first.
    ///
    /// # Errors
    /// When the file cannot be written, or a legacy field does not fit in its 32 bits.
    pub fn save(&self, path: &Path) -> Result<()> {
        let mut entries: Vec<(&str, &Entry)> =
            self.entries.iter().filter(|(_, e)| !e.sums.is_empty()).collect();
        entries.sort_by_key(|(name, _)| *name);
        match self.form {
            Form::Gguf => self.save_gguf(&entries, path, None),
            Form::Legacy => self.save_legacy(&entries, path),
        }
    }

    /// Writes the state of an unfinished run, in GGUF form, with what identifies the run: lines of `WHAT=VALUE`,
    /// by which [`ImportanceMatrix::load_checkpoint`]'s caller tells whether it continues the same one.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save_checkpoint(&self, path: &Path, run: &[String]) -> Result<()> {
        let mut entries: Vec<(&str, &Entry)> =
            self.entries.iter().filter(|(_, e)| !e.sums.is_empty()).collect();
        entries.sort_by_key(|(name, _)| *name);
        self.save_gguf(&entries, path, Some(run))
    }

    fn save_gguf(&self, entries: &[(&str, &Entry)], path: &Path, run: Option<&[String]>) -> Result<()> {
        let mut metadata = Metadata::new();
        metadata.set("general.type", "imatrix");
        metadata.set("imatrix.datasets", self.datasets.clone());
        metadata.set("imatrix.chunk_count", self.chunk_count);
        metadata.set("imatrix.chunk_size", self.chunk_size);
        if let Some(run) = run {
            metadata.set(RUN, run.to_vec());
        }
        let tensors = entries.iter().flat_map(|(name, e)| {
            let matrices = e.counts.len().max(1) as u64;
            [
                (
                    format!("{name}.in_sum2"),
                    ggml_shape(&[e.sums.len() as u64 / matrices, matrices]),
                    TensorType::F32,
                ),
                (
                    format!("{name}.counts"),
                    ggml_shape(&[1, matrices]),
                    TensorType::F32,
                ),
            ]
        });
        let plan = FilePlan::new(metadata, tensors)?;
        let writer = Writer::create(path, &plan)?;
        let bytes = |values: &[f32]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
        for (i, (_, entry)) in entries.iter().enumerate() {
            writer.write_at(2 * i, 0, &bytes(&entry.sums))?;
            writer.write_at(2 * i + 1, 0, &bytes(&entry.counts))?;
        }
        Ok(writer.finish()?)
    }

    fn save_legacy(&self, entries: &[(&str, &Entry)], path: &Path) -> Result<()> {
        let io = |source| Error::Io {
            path: path.to_path_buf(),
            source,
        };
        let mut out = Vec::new();
        let word = |out: &mut Vec<u8>, value: usize| -> Result<()> {
            let value = i32::try_from(value).map_err(|_| {
                io(std::io::Error::other(format!(
                    "{value} does not fit in the legacy form's 32 bits"
                )))
            })?;
            out.extend(value.to_le_bytes());
            Ok(())
        };
        word(&mut out, entries.len())?;
        for (name, entry) in entries {
            word(&mut out, name.len())?;
            out.extend(name.as_bytes());
            word(&mut out, entry.counts.first().copied().unwrap_or(0.0) as usize)?;
            word(&mut out, entry.sums.len())?;
            out.extend(entry.sums.iter().flat_map(|v| v.to_le_bytes()));
        }
        word(&mut out, self.chunk_count as usize)?;
        // The form has room for one text: the last.
        let dataset = self.datasets.last().map_or("", String::as_str);
        word(&mut out, dataset.len())?;
        out.extend(dataset.as_bytes());
        Ok(WholeFile::open(path)?.publish(&out)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix() -> ImportanceMatrix {
        let mut m = ImportanceMatrix {
            datasets: vec!["a.txt".into(), "b.txt".into()],
            chunk_count: 3,
            chunk_size: 4,
            ..Default::default()
        };
        m.entries.insert(
            "blk.1.x.weight",
            Entry {
                sums: vec![1.0, 2.0, 0.0, 0.0],
                counts: vec![12.0, 0.0],
            },
        );
        m.entries.insert(
            "blk.0.x.weight",
            Entry {
                sums: vec![0.5; 3],
                counts: vec![12.0],
            },
        );
        m
    }

    #[test]
    fn the_gguf_form_comes_back_sorted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("i.gguf");
        matrix().save(&path).unwrap();
        let back = ImportanceMatrix::load(&path).unwrap();
        let mut sorted = matrix();
        sorted.entries.sort();
        assert_eq!(back, sorted);
        assert_eq!(back.entries.names().next().unwrap(), "blk.0.x.weight");
    }

    #[test]
    fn the_legacy_form_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("i.dat");
        let legacy = matrix().to_legacy_form();
        legacy.save(&path).unwrap();
        let back = ImportanceMatrix::load(&path).unwrap();
        for name in legacy.entries.names() {
            assert_eq!(back.values(name), legacy.values(name), "{name}");
        }
        assert_eq!((back.chunk_count, back.datasets), (3, vec!["b.txt".to_owned()]));
    }
}
