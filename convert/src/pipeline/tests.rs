use std::borrow::Cow;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;

use gguf::{GgufModel, Metadata, TensorType};

use super::*;
use crate::plan::PlannedTensor;
use crate::source::SourceTensor;

/// A model in memory that counts how often each row is read.
struct MemorySource {
    metadata: Metadata,
    tensors: Vec<SourceTensor>,
    data: Vec<Vec<f32>>,
    rows_read: AtomicUsize,
}

impl MemorySource {
    fn new(shapes: &[&[u64]]) -> Self {
        let mut state = 7u32;
        let mut random = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 24) as f32 - 0.5
        };
        Self {
            metadata: Metadata::new(),
            tensors: shapes
                .iter()
                .enumerate()
                .map(|(i, shape)| SourceTensor {
                    name: format!("t{i}"),
                    shape: shape.to_vec(),
                    ty: TensorType::F32,
                    shard: 0,
                })
                .collect(),
            data: shapes
                .iter()
                .map(|shape| (0..shape.iter().product()).map(|_| random()).collect())
                .collect(),
            rows_read: AtomicUsize::new(0),
        }
    }

    fn output(&self, path: PathBuf, ty: TensorType) -> OutputPlan<'_> {
        let contents = self
            .tensors
            .iter()
            .enumerate()
            .map(|(source, tensor)| PlannedTensor::new(source, tensor, ty))
            .collect();
        OutputPlan::new(path, &self.metadata, Vec::new(), contents).unwrap()
    }
}

impl Source for MemorySource {
    fn path(&self) -> &Path {
        Path::new("memory")
    }
    fn metadata(&self) -> &Metadata {
        &self.metadata
    }
    fn tensors(&self) -> &[SourceTensor] {
        &self.tensors
    }
    fn read_rows(&self, tensor: usize, rows: Range<u64>, out: &mut [f32]) -> Result<()> {
        self.rows_read
            .fetch_add((rows.end - rows.start) as usize, Ordering::Relaxed);
        let row = self.tensors[tensor].shape[0] as usize;
        out.copy_from_slice(&self.data[tensor][rows.start as usize * row..rows.end as usize * row]);
        Ok(())
    }
    fn raw_rows(&self, _: usize, _: Range<u64>) -> Result<Option<Cow<'_, [u8]>>> {
        Ok(None)
    }
}

fn small(threads: usize) -> PipelineOptions {
    PipelineOptions {
        threads,
        max_memory: 100_000,
    }
}

#[test]
fn one_pass_serves_every_output() {
    let dir = tempfile::tempdir().unwrap();
    let source = MemorySource::new(&[&[256, 300], &[64, 3, 5]]);
    let types = [
        TensorType::Q8_0,
        TensorType::Q4_0,
        TensorType::Q8_0,
        TensorType::F32,
    ];
    let outputs: Vec<_> = types
        .iter()
        .enumerate()
        .map(|(i, &ty)| source.output(dir.path().join(format!("{i}.gguf")), ty))
        .collect();
    let reports = Mutex::new(Vec::new());
    execute(&source, &outputs, &small(4), &|p| reports.lock().unwrap().push(p)).unwrap();
    assert_eq!(source.rows_read.load(Ordering::Relaxed), 315);
    let weights = 256 * 300 + 64 * 15;
    let reports = reports.into_inner().unwrap();
    // Three distinct encodings of every weight.
    assert!(reports.iter().all(|p| p.total == 3 * weights));
    assert!(reports.iter().any(|p| p.done == p.total));

    for (plan, ty) in outputs.iter().zip(types) {
        let file = GgufModel::open(&plan.path).unwrap();
        assert_eq!(std::fs::metadata(&plan.path).unwrap().len(), plan.file_size());
        for (t, data) in source.data.iter().enumerate() {
            let row = source.tensors[t].shape[0] as usize;
            let size = file.info(t).size_bytes();
            let mut expected = vec![0; size as usize];
            quants::encode(ty, data, row, None, &mut expected).unwrap();
            assert!(file.bytes(t, 0..size).unwrap() == expected, "{ty} tensor {t}");
        }
    }
}

#[test]
fn a_weight_that_is_not_finite_stops_everything() {
    let dir = tempfile::tempdir().unwrap();
    for threads in [1, 4] {
        let mut source = MemorySource::new(&[&[256, 300], &[64, 900]]);
        source.data[1][64 * 700 + 9] = f32::INFINITY;
        source.data[1][64 * 600 + 5] = f32::NAN;
        let outputs = [
            source.output(dir.path().join("a.gguf"), TensorType::Q8_0),
            source.output(dir.path().join("b.gguf"), TensorType::F32),
        ];
        let error = execute(&source, &outputs, &small(threads), &|_| {}).unwrap_err();
        let message = error.to_string();
        assert!(
            message.contains("memory: tensor 't1', row 600, column 5: found NaN"),
            "{message}"
        );
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}

#[test]
fn a_weight_that_the_type_cannot_hold_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let mut source = MemorySource::new(&[&[64, 10]]);
    source.data[0][64 * 3 + 2] = 1e6;
    let outputs = [source.output(dir.path().join("a.gguf"), TensorType::F16)];
    let error = execute(&source, &outputs, &small(2), &|_| {}).unwrap_err();
    let message = error.to_string();
    assert!(message.contains("tensor 't0', row 3, column 2"), "{message}");
}

#[test]
fn the_memory_bound_decides_threads_and_pieces() {
    let source = MemorySource::new(&[&[1024, 40]]);
    let outputs = [source.output("x".into(), TensorType::Q8_0)];
    let jobs = jobs(&source, &outputs).unwrap();
    // A row takes 4096 bytes as stored, 4096 decoded and 1088 encoded.
    let cut = |threads, max_memory| {
        memory::rows_per_piece(&source, &jobs, &PipelineOptions { threads, max_memory })
    };
    // A quarter of a small bound is left for everything else.
    let one = cut(8, 16_000).unwrap();
    assert_eq!((one.threads, one.per_job), (1, vec![1]));
    let three = cut(8, 40_000).unwrap();
    assert_eq!((three.threads, three.per_job), (3, vec![1]));
    let many = cut(2, 160_000).unwrap();
    assert_eq!((many.threads, many.per_job), (2, vec![6]));
    let error = cut(1, 8_000).unwrap_err().to_string();
    assert!(error.contains("tensor 't0'"), "{error}");
}

#[test]
fn pieces_can_be_executed_apart() {
    struct Pieces(Mutex<Vec<u8>>);
    impl Sink for Pieces {
        fn write(&self, _: usize, _: usize, offset: u64, bytes: &[u8]) -> Result<()> {
            let at = offset as usize;
            self.0.lock().unwrap()[at..at + bytes.len()].copy_from_slice(bytes);
            Ok(())
        }
    }
    let source = MemorySource::new(&[&[256, 30]]);
    let outputs = [source.output("x".into(), TensorType::Q4_K)];
    let jobs = jobs(&source, &outputs).unwrap();
    let pieces = pieces(&jobs, &[4]);
    assert_eq!(pieces.len(), 8);
    let sink = Pieces(Mutex::new(vec![0; 30 * 144]));
    let (front, back) = pieces.split_at(3);
    run(&source, &jobs, back, &sink, 2, &|_| {}).unwrap();
    run(&source, &jobs, front, &sink, 1, &|_| {}).unwrap();
    let mut expected = vec![0; 30 * 144];
    quants::encode(TensorType::Q4_K, &source.data[0], 256, None, &mut expected).unwrap();
    assert!(sink.0.into_inner().unwrap() == expected);
}
