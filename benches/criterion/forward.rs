//! The forward pass on windows of tokens.

use benches::models;
use convert::pipeline::PipelineOptions;
use convert::source::GgufSource;
use convert::table::{self, TableOptions};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use reference::Model;

const WINDOW: u32 = 512;

fn forward(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a folder");
    let model = dir.path().join("model.gguf");
    models::write_llama(&model).expect("a model");
    let source = GgufSource::open(&model).expect("a model");
    let entries = table::parse_entries("F16,Q8_0,Q4_K_M").expect("a list");
    let options = TableOptions::new(entries, dir.path(), "bench");
    let planned = table::plan(&source, &options, None).expect("a plan");
    table::execute(&source, &planned, &PipelineOptions::default(), None, &|_| {}).expect("files");
    let tokens: Vec<u32> = (0..WINDOW)
        .map(|i| i * 7919 % models::VOCABULARY as u32)
        .collect();
    let mut group = criterion.benchmark_group("forward");
    group.sample_size(10);
    group.throughput(Throughput::Elements(u64::from(WINDOW)));
    for row in &planned {
        let model = Model::load(&row.path).expect("a model");
        group.bench_function(BenchmarkId::new("window of 512", &row.entry.name), |bencher| {
            bencher.iter(|| model.forward(&[&tokens], 256..512, None).expect("logits"));
        });
    }
    group.finish();
}

criterion_group!(benches, forward);
criterion_main!(benches);
