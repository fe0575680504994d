//! Writing and reading GGUF files.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use gguf::{FilePlan, GgufModel, Metadata, TensorType, Value, Writer};

const TENSORS: u64 = 300;
const ROWS: u64 = 64;
const WIDTH: u64 = 1024;
const TOKENS: u64 = 50_000;

fn plan() -> FilePlan {
    let mut metadata = Metadata::new();
    metadata.set("general.architecture", "llama");
    let tokens: Vec<String> = (0..TOKENS).map(|i| format!("token {i}")).collect();
    metadata.set("tokenizer.ggml.tokens", Value::from(tokens));
    let tensors = (0..TENSORS).map(|i| (format!("blk.{i}.weight"), vec![WIDTH, ROWS], TensorType::Q8_0));
    FilePlan::new(metadata, tensors.collect::<Vec<_>>()).expect("a plan")
}

fn container(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("model.gguf");
    let plan = plan();
    let data = vec![7; (WIDTH / 32 * 34 * ROWS) as usize];
    let write = || {
        let writer = Writer::create(&path, &plan).expect("a file");
        for tensor in 0..plan.tensors.len() {
            writer.write_at(tensor, 0, &data).expect("room");
        }
        writer.finish().expect("a file");
    };
    let mut group = criterion.benchmark_group("container");
    group.throughput(Throughput::Bytes(plan.data_len()));
    group.sample_size(10);
    group.bench_function("write and sync", |bencher| bencher.iter(write));
    group.bench_function("read all tensors", |bencher| {
        let model = GgufModel::open(&path).expect("a model");
        bencher.iter(|| {
            for tensor in 0..plan.tensors.len() {
                let size = model.info(tensor).size_bytes();
                black_box(
                    model
                        .bytes(tensor, 0..size)
                        .expect("bytes")
                        .iter()
                        .step_by(64)
                        .max(),
                );
            }
        });
    });
    group.throughput(Throughput::Elements(TOKENS));
    group.bench_function("open", |bencher| {
        bencher.iter_batched(
            || path.clone(),
            |path| GgufModel::open(&path).expect("a model"),
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

criterion_group!(benches, container);
criterion_main!(benches);
