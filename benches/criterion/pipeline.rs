//! The table pass over a model in a GGUF file: every published preset at once.

use benches::models;
use convert::importance::{Importance, Selection};
use convert::pipeline::PipelineOptions;
use convert::source::GgufSource;
use convert::table::{self, TableOptions};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

fn pipeline(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a folder");
    let model = dir.path().join("model.gguf");
    let weights = models::write_llama(&model).expect("a model");
    let source = GgufSource::open(&model).expect("a model");
    let matrix = models::importance_of(&model).expect("a matrix");
    let importance = Importance::new(&matrix, "bench", &Selection::default())
        .expect("values that can be used")
        .expect("a matrix that is not empty");
    let mut group = criterion.benchmark_group("pipeline");
    group.sample_size(10);
    let lists = [
        ("table of 22", table::published()),
        ("Q8_0", table::parse_entries("Q8_0").expect("a list")),
    ];
    for (name, entries) in lists {
        let options = TableOptions::new(entries, dir.path(), "bench");
        let planned = table::plan(&source, &options, Some(&importance)).expect("a plan");
        group.throughput(Throughput::Elements(weights));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                table::execute(&source, &planned, &PipelineOptions::default(), None, &|_| {}).expect("files");
            });
        });
    }
    group.finish();
}

criterion_group!(benches, pipeline);
criterion_main!(benches);
