//! Calibration in parts: what windows of a text add, step by step, so that sums over parts come out as those of one run.
//!
//! Totals are numbers of 32 bits to which steps are added one after another, and such additions do not associate. So a
//! part keeps what each of its steps adds, and [`join`] adds all of them in the order of the text: the same additions in
//! the same order, whoever ran which windows.

use std::path::{Path, PathBuf};

use gguf::{Array, FilePlan, GgufModel, Metadata, TensorType, Value, Writer};
use indexmap::IndexMap;

use crate::gguf_form::{COUNTS_SUFFIX, SUMS_SUFFIX, numbers};
use crate::{Entries, Entry, Error, Form, ImportanceMatrix, Result};

/// `general.type` of the file.
const KIND: &str = "imatrix-part";
const RUN: &str = "imatrix.part.run";
const FIRST: &str = "imatrix.part.first_window";
const WINDOWS: &str = "imatrix.part.windows";
const STEPS: &str = "imatrix.part.steps";
const DATASETS: &str = "imatrix.datasets";
const CHUNK_SIZE: &str = "imatrix.chunk_size";

/// Addends of one step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Step {
    /// Windows of the step, those set aside included.
    pub chunks: u32,
    /// Sums and counts by tensor.
    pub entries: Entries,
}

/// Addends of a part of the windows of a text.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// Identity of the run: lines of `WHAT=VALUE`, the same for all its parts.
    pub run: Vec<String>,
    /// The texts, as the matrix records them.
    pub datasets: Vec<String>,
    /// Tokens in a window.
    pub chunk_size: u32,
    /// The first of its windows, counted from 0.
    pub first: u32,
    /// Windows of all parts.
    pub windows: u32,
    /// Its steps, in the order of the text.
    pub steps: Vec<Step>,
}

impl Part {
    /// Writes the part to a file.
    ///
    /// # Errors
    /// When it cannot be written, or steps of a tensor have different shapes.
    pub fn save(&self, path: &Path) -> Result<()> {
        let mut metadata = Metadata::new();
        metadata.set("general.type", KIND);
        metadata.set(DATASETS, self.datasets.clone());
        metadata.set(CHUNK_SIZE, self.chunk_size);
        metadata.set(RUN, self.run.clone());
        metadata.set(FIRST, self.first);
        metadata.set(WINDOWS, self.windows);
        metadata.set(STEPS, self.steps.iter().map(|s| s.chunks).collect::<Vec<u32>>());
        let mut shapes: IndexMap<&str, (usize, usize)> = IndexMap::new();
        for (name, entry) in self.steps.iter().flat_map(|s| s.entries.iter()) {
            let shape = (entry.sums.len(), entry.counts.len());
            if *shapes.entry(name).or_insert(shape) != shape {
                return Err(Error::NotAnImatrix {
                    path: path.to_path_buf(),
                    subject: format!("entry '{name}'"),
                    found: format!("{} sums and {} counts", shape.0, shape.1),
                    expected: "as many in each step".to_owned(),
                });
            }
        }
        shapes.sort_keys();
        let steps = self.steps.len() as u64;
        let tensors = shapes.iter().flat_map(|(name, &(sums, counts))| {
            let of = |suffix: &str, length: usize| {
                (
                    format!("{name}{suffix}"),
                    vec![length as u64, steps],
                    TensorType::F32,
                )
            };
            [of(SUMS_SUFFIX, sums), of(COUNTS_SUFFIX, counts)]
        });
        let writer = Writer::create(path, &FilePlan::new(metadata, tensors)?)?;
        let bytes = |values: &[f32]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
        for (at, (name, &(sums, counts))) in shapes.iter().enumerate() {
            // A step that has nothing of a tensor adds zeros, which change no sum.
            let nothing = Entry {
                sums: vec![0.0; sums],
                counts: vec![0.0; counts],
            };
            for (step, number) in self.steps.iter().zip(0u64..) {
                let entry = step.entries.get(name).unwrap_or(&nothing);
                writer.write_at(2 * at, number * sums as u64 * 4, &bytes(&entry.sums))?;
                writer.write_at(2 * at + 1, number * counts as u64 * 4, &bytes(&entry.counts))?;
            }
        }
        Ok(writer.finish()?)
    }
}

/// An open file of a part; its sums stay in the file.
struct PartFile {
    path: PathBuf,
    model: GgufModel,
    run: Vec<String>,
    datasets: Vec<String>,
    chunk_size: u32,
    first: u32,
    windows: u32,
    steps: Vec<u32>,
}

impl PartFile {
    fn open(path: &Path) -> Result<Self> {
        let model = GgufModel::open(path)?;
        let unfit = |key: &str, expected: &str| {
            let value = model.metadata().get(key);
            Error::NotAnImatrix {
                path: path.to_path_buf(),
                subject: format!("key '{key}'"),
                found: value.map_or("nothing".into(), |v| format!("{v:?}")),
                expected: expected.to_owned(),
            }
        };
        if model.metadata().get_str("general.type") != Some(KIND) {
            return Err(unfit("general.type", "\"imatrix-part\", a part of a collection"));
        }
        let number = |key: &str| {
            let value = model.metadata().get(key).and_then(Value::as_u64);
            let value = value.and_then(|n| u32::try_from(n).ok());
            value.ok_or_else(|| unfit(key, "a 32-bit number"))
        };
        let texts = |key: &str| match model.metadata().get(key) {
            Some(Value::Array(Array::String(lines))) => Ok(lines
                .iter()
                .map(|line| line.to_string_lossy().into_owned())
                .collect()),
            _ => Err(unfit(key, "a list of texts")),
        };
        let steps = match model.metadata().get(STEPS) {
            Some(Value::Array(Array::U32(steps))) => steps.clone(),
            _ => return Err(unfit(STEPS, "a list of 32-bit numbers")),
        };
        Ok(Self {
            path: path.to_path_buf(),
            run: texts(RUN)?,
            datasets: texts(DATASETS)?,
            chunk_size: number(CHUNK_SIZE)?,
            first: number(FIRST)?,
            windows: number(WINDOWS)?,
            steps,
            model,
        })
    }

    /// The window after its last.
    fn end(&self) -> u64 {
        u64::from(self.first) + self.steps.iter().map(|&n| u64::from(n)).sum::<u64>()
    }

    /// Adds its steps of a tensor to totals, one after another.
    fn add(&self, name: &str, totals: &mut Vec<f32>) -> Result<()> {
        let Some(index) = self.model.find(name) else {
            return Ok(());
        };
        let info = self.model.info(index);
        let steps = self.steps.len() as u64;
        let length = info.elements().checked_div(steps).unwrap_or(0);
        let wrong = |found: String, expected: String| Error::NotAnImatrix {
            path: self.path.clone(),
            subject: format!("tensor '{name}'"),
            found,
            expected,
        };
        if info.ty != TensorType::F32 || length == 0 || info.shape.first() != Some(&length) {
            return Err(wrong(
                format!("{} of {:?}", info.ty, info.shape),
                format!("f32 in {steps} rows"),
            ));
        }
        if totals.is_empty() {
            totals.resize(length as usize, 0.0);
        } else if totals.len() as u64 != length {
            return Err(wrong(
                format!("rows of {length}"),
                format!("{}, as in other parts", totals.len()),
            ));
        }
        for step in 0..steps {
            let bytes = self
                .model
                .bytes(index, step * length * 4..(step + 1) * length * 4)?;
            for (total, value) in totals.iter_mut().zip(numbers(&bytes)) {
                *total += value;
            }
        }
        Ok(())
    }
}

/// The matrix of a whole text from the files of all its parts, in any order: the one that a single run makes, to the bit.
///
/// # Errors
/// Files that are no parts, parts of different runs, and windows that no part has or two have.
pub fn join(paths: &[PathBuf]) -> Result<ImportanceMatrix> {
    let mut parts = paths
        .iter()
        .map(|p| PartFile::open(p))
        .collect::<Result<Vec<_>>>()?;
    parts.sort_by_key(|part| (part.first, part.end()));
    let Some(model) = parts.first() else {
        return Err(Error::NotAnImatrix {
            path: PathBuf::new(),
            subject: "parts".to_owned(),
            found: "none".to_owned(),
            expected: "the files of all parts".to_owned(),
        });
    };
    all_of_one_run(&parts, model)?;
    let mut names: Vec<String> = parts
        .iter()
        .flat_map(|part| part.model.tensors())
        .filter_map(|t| t.info.name.strip_suffix(SUMS_SUFFIX).map(str::to_owned))
        .collect();
    names.sort();
    names.dedup();
    let mut matrix = ImportanceMatrix {
        datasets: model.datasets.clone(),
        chunk_count: model.windows,
        chunk_size: model.chunk_size,
        form: Form::Gguf,
        ..Default::default()
    };
    for name in names {
        let mut entry = Entry::default();
        for part in &parts {
            part.add(&format!("{name}{SUMS_SUFFIX}"), &mut entry.sums)?;
            part.add(&format!("{name}{COUNTS_SUFFIX}"), &mut entry.counts)?;
        }
        if entry.counts.is_empty() || !entry.sums.len().is_multiple_of(entry.counts.len()) {
            return Err(Error::NotAnImatrix {
                path: model.path.clone(),
                subject: format!("entry '{name}'"),
                found: format!("{} sums and {} counts", entry.sums.len(), entry.counts.len()),
                expected: "both, with as many sums for each count".to_owned(),
            });
        }
        matrix.entries.insert(name, entry);
    }
    Ok(matrix)
}

/// Checks that parts, in the order of their windows, are those of `model`'s run, and all of them.
fn all_of_one_run(parts: &[PartFile], model: &PartFile) -> Result<()> {
    let mut next = 0;
    for part in parts {
        let wrong = |subject: &str, found: String, expected: String| Error::NotAnImatrix {
            path: part.path.clone(),
            subject: subject.to_owned(),
            found,
            expected,
        };
        let same = |a: &PartFile| (a.run.clone(), a.datasets.clone(), a.chunk_size, a.windows);
        if same(part) != same(model) {
            let differs = part.run.iter().zip(&model.run).find(|(a, b)| a != b);
            let windows = |part: &PartFile| format!("{} windows", part.windows);
            let (found, expected) = differs.map_or_else(
                || (windows(part), windows(model)),
                |(a, b)| (a.clone(), b.clone()),
            );
            let expected = format!("{expected}, as {} has", model.path.display());
            return Err(wrong("a part of another run", found, expected));
        }
        let first = u64::from(part.first);
        if first != next {
            let subject = match first > next {
                true => "a part is missing",
                false => "windows in two parts",
            };
            return Err(wrong(
                subject,
                format!("windows from {first}"),
                format!("from {next}"),
            ));
        }
        next = part.end();
    }
    if next != u64::from(model.windows) {
        return Err(Error::NotAnImatrix {
            path: parts.last().unwrap_or(model).path.clone(),
            subject: "the last part is missing".to_owned(),
            found: format!("windows up to {next}"),
            expected: format!("up to {}", model.windows),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Accumulator;

    /// Steps whose sums do not associate in 32 bits.
    fn run(accumulator: &mut Accumulator, steps: std::ops::Range<u32>) {
        for step in steps {
            let input: Vec<f32> = (0..32)
                .map(|i| ((i * 37 + step * 11) % 101) as f32 * 0.0137 * 10f32.powi(step as i32 % 5))
                .collect();
            accumulator.add("dense.weight", None, &input, 8);
            if step % 3 == 1 {
                accumulator.add("experts.weight", Some((step as usize % 2, 2)), &input[..8], 4);
            }
            accumulator.commit(1 + step % 2).unwrap();
        }
    }

    fn part(steps: std::ops::Range<u32>) -> Part {
        let windows = |steps: std::ops::Range<u32>| steps.map(|s| 1 + s % 2).sum();
        let mut accumulator = Accumulator::keeping_steps(8);
        run(&mut accumulator, steps.clone());
        Part {
            run: vec!["model=x".into()],
            datasets: vec!["a.txt".into()],
            chunk_size: 8,
            first: windows(0..steps.start),
            windows: windows(0..20),
            steps: accumulator.into_steps(),
        }
    }

    #[test]
    fn parts_add_up_to_one_run() {
        let dir = tempfile::tempdir().unwrap();
        let mut whole = Accumulator::new(8);
        run(&mut whole, 0..20);
        let mut whole = whole.totals().clone();
        whole.datasets = vec!["a.txt".into()];
        whole.entries.sort();
        let save = |steps: std::ops::Range<u32>| {
            let path = dir.path().join(format!("{}-{}", steps.start, steps.end));
            part(steps).save(&path).unwrap();
            path
        };
        for cuts in [&[20][..], &[1, 20], &[7, 7, 13, 20], &[20, 20]] {
            let mut start = 0;
            let mut files: Vec<PathBuf> = cuts
                .iter()
                .map(|&end| {
                    let path = save(start..end);
                    start = end;
                    path
                })
                .collect();
            files.reverse();
            assert_eq!(join(&files).unwrap(), whole, "{cuts:?}");
        }
        // Merging files of totals is not the same.
        let total = |steps| {
            let mut a = Accumulator::new(8);
            run(&mut a, steps);
            a.totals().clone()
        };
        let mut merged = total(0..7);
        merged.merge(&total(7..20)).unwrap();
        assert_ne!(merged.entries["dense.weight"], whole.entries["dense.weight"]);
        let told = |files: &[PathBuf]| join(files).unwrap_err().to_string();
        let (a, b, c) = (save(0..7), save(7..13), save(13..20));
        assert!(told(&[a.clone(), c.clone()]).contains("a part is missing"));
        assert!(told(&[a.clone(), b.clone()]).contains("the last part is missing"));
        assert!(told(&[a.clone(), b.clone(), b.clone(), c.clone()]).contains("windows in two parts"));
        let mut other = part(7..13);
        other.run = vec!["model=y".into()];
        other.save(&b).unwrap();
        assert!(told(&[a, b, c]).contains("a part of another run"));
    }
}
