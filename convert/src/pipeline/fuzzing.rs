//! Fuzzing of the continuation of a run.

use std::borrow::Cow;
use std::ops::Range;
use std::path::{Path, PathBuf};

use gguf::{Metadata, TensorType};

use super::journal::{fingerprint, of_run};
use super::{PipelineOptions, execute, execute_resumable};
use crate::plan::{OutputPlan, PlannedTensor};
use crate::source::{Source, SourceTensor};
use crate::{Error, Result};

/// Two small tensors of numbers.
struct Numbers {
    path: PathBuf,
    metadata: Metadata,
    tensors: Vec<SourceTensor>,
}

impl Numbers {
    fn new(path: PathBuf) -> Self {
        let tensor = |name: &str, shape: &[u64]| SourceTensor {
            name: name.to_owned(),
            shape: shape.to_vec(),
            ty: TensorType::F32,
            shard: 0,
        };
        Self {
            path,
            metadata: Metadata::new(),
            tensors: vec![tensor("a", &[32, 24]), tensor("b", &[64])],
        }
    }

    fn output(&self, path: PathBuf, ty: TensorType) -> Result<OutputPlan<'_>> {
        let planned = |(source, tensor)| PlannedTensor::new(source, tensor, ty);
        let contents = self.tensors.iter().enumerate().map(planned).collect();
        OutputPlan::new(path, &self.metadata, Vec::new(), contents)
    }
}

impl Source for Numbers {
    fn path(&self) -> &Path {
        &self.path
    }

    fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    fn tensors(&self) -> &[SourceTensor] {
        &self.tensors
    }

    fn read_rows(&self, tensor: usize, rows: Range<u64>, out: &mut [f32]) -> Result<()> {
        let first = rows.start * self.tensors[tensor].shape[0];
        for (i, x) in (first..).zip(out) {
            *x = ((i * 37 + tensor as u64) % 101) as f32 - 50.0;
        }
        Ok(())
    }

    fn raw_rows(&self, _: usize, _: Range<u64>) -> Result<Option<Cow<'_, [u8]>>> {
        Ok(None)
    }
}

/// A run that is continued with any journal and whatever is left of its files gives the bytes of a whole run,
/// or an error. The first byte says what is left, a second what of it is damaged, and how many lines of the
/// journal are true; the rest is what follows in the journal.
pub(crate) fn journal(dir: &Path, data: &[u8]) {
    let [left, damage, lines, rest @ ..] = data else {
        return;
    };
    let weights = dir.join("weights");
    if std::fs::write(&weights, "weights").is_err() {
        return;
    }
    let source = Numbers::new(weights);
    let options = PipelineOptions {
        threads: 1,
        ..PipelineOptions::default()
    };
    let run = || -> Result<()> {
        let whole = source.output(dir.join("whole.gguf"), TensorType::Q8_0)?;
        execute(&source, &[whole], &options, &|_| {})?;
        let io = |path: &Path, e| Error::io(path, e);
        let read = |path: &Path| std::fs::read(path).map_err(|e| io(path, e));
        let expected = read(&dir.join("whole.gguf"))?;

        let out = dir.join("out.gguf");
        let plan = [source.output(out.clone(), TensorType::Q8_0)?];
        let fingerprint = fingerprint(&source, &plan)?;
        let path = dir.join("journal");
        let mut bytes = expected.clone();
        let at = usize::from(*damage) * 7 % bytes.len();
        if *damage > 0 {
            bytes[at] ^= damage;
        }
        if left & 4 != 0 {
            bytes.truncate(at);
        }
        let name = if left & 1 == 0 {
            ".out.gguf.partial"
        } else {
            "out.gguf"
        };
        if left & 2 == 0 {
            std::fs::write(dir.join(name), &bytes).map_err(|e| io(&out, e))?;
        }
        {
            let (journal, _) = of_run(&path, &fingerprint)?;
            for (tensor, info) in plan[0].tensors().iter().enumerate() {
                let row = 34;
                for number in 0..(u64::from(*lines) % 8).min(info.size_bytes() / row) {
                    let place = plan[0].header_len() + info.offset + number * row;
                    let range = place as usize..(place + row) as usize;
                    journal.add(0, tensor, number * row, &expected[range])?;
                }
            }
        }
        let mut text = read(&path)?;
        if left & 8 != 0 {
            text.clear();
        }
        text.extend(rest);
        std::fs::write(&path, text).map_err(|e| io(&path, e))?;
        if let Ok(finished) = execute_resumable(&source, &plan, &options, &path, &|_| {}) {
            finished.forget()?;
            assert!(
                read(&out)? == expected,
                "a run that was continued gave other bytes"
            );
        }
        Ok(())
    };
    let _ = run();
}
