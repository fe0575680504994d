//! Encoding and decoding of every type with each instruction set that this machine has.

use std::hint::black_box;

use benches::codecs::{ROW, SMALL, Sample, takes_no_importance};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use quants::Isa;

fn codecs(criterion: &mut Criterion) {
    let sample = Sample::new(SMALL);
    let sets: Vec<Isa> = Isa::ALL.into_iter().filter(|isa| isa.is_available()).collect();
    for ty in oracle::blocks::encodable() {
        let mut blocks = vec![0; SMALL / ty.block_len() * ty.block_bytes()];
        let mut rows = vec![0.0; SMALL];
        let mut group = criterion.benchmark_group(ty.name());
        group.throughput(Throughput::Elements(SMALL as u64));
        for &isa in &sets {
            let with = Some(&sample.importance[..]);
            let without = (!quants::requires_importance(ty)).then_some(None);
            let modes = [
                (
                    "encode with importance",
                    (!takes_no_importance(ty)).then_some(with),
                ),
                ("encode", without),
            ];
            for (name, importance) in modes.into_iter().filter_map(|(name, mode)| Some((name, mode?))) {
                group.bench_function(BenchmarkId::new(name, isa.name()), |bencher| {
                    bencher.iter(|| {
                        quants::encode_with(isa, ty, black_box(&sample.rows), ROW, importance, &mut blocks)
                            .expect("whole rows");
                    });
                });
            }
            quants::encode_with(isa, ty, &sample.rows, ROW, with, &mut blocks).expect("whole rows");
            group.bench_function(BenchmarkId::new("decode", isa.name()), |bencher| {
                bencher.iter(|| {
                    quants::decode_with(isa, ty, black_box(&blocks), &mut rows).expect("whole rows");
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, codecs);
criterion_main!(benches);
