//! Files whose blocks are learned, or tuned besides, in stock llama.cpp: it loads them and decodes a token.

use std::path::Path;
use std::process::Command;

use convert::importance::{Importance, Selection};
use convert::pipeline::{PipelineOptions, execute};
use convert::plan::OutputPlan;
use convert::quantize::{QuantizeOptions, plan, run};
use convert::recipe::Preset;
use convert::source::hf::{HfOptions, HfSource, OutType};
use convert::source::{GgufSource, Source};
use imatrix::Accumulator;
use optimize::{LayerOptions, LossOptions, WINDOW};
use reference::calibration::{Calibration, collect};
use reference::{Model, Tokenizer};

const DEMO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../assets/demo");
/// Windows that teach the widest of the demo model's rows, and those held out.
const WINDOWS: usize = 18;

#[test]
fn stock_loads_and_runs_optimized_files() {
    let Some(python) = oracle::python() else { return };
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let whole = HfSource::open(Path::new(DEMO), &HfOptions::default().outtype(OutType::F16)).unwrap();
    let file = OutputPlan::unquantized(at("whole.gguf"), &whole, Vec::new()).unwrap();
    execute(&whole, &[file], &PipelineOptions::default(), &|_| {}).unwrap();
    // The first layers are enough.
    let whole = GgufSource::open(&at("whole.gguf")).unwrap();
    let options = QuantizeOptions::new(Preset::parse("COPY").unwrap()).prune_layers((2..8).collect());
    let short = plan(&whole, &at("base.gguf"), &options, None).unwrap();
    run(&whole, &short, &PipelineOptions::default(), None, &|_| {}).unwrap();

    let source = GgufSource::open(&at("base.gguf")).unwrap();
    let model = Model::load(&at("base.gguf")).unwrap();
    let tokenizer = Tokenizer::from_metadata(source.metadata()).unwrap();
    let text = std::fs::read_to_string(Path::new(DEMO).join("calibration.txt")).unwrap();
    let tokens = tokenizer.encode(&text, true, false);
    let windows: Vec<Vec<u32>> = tokens
        .chunks_exact(WINDOW)
        .take(WINDOWS)
        .map(<[u32]>::to_vec)
        .collect();
    let mut sums = Accumulator::new(WINDOW as u32);
    let some = &tokens[..WINDOW * 4];
    collect::<reference::Error>(&model, some, &Calibration::new(WINDOW), &mut sums, 0, &mut |_| {
        Ok(())
    })
    .unwrap();
    let importance = Importance::new(sums.totals(), "matrix", &Selection::All).unwrap();
    // Between them these have K-quants, codebooks, and blocks of 32.
    let made = ["Q2_K", "IQ2_M", "IQ3_XXS", "Q4_0"].map(|preset| (preset, false));
    // Scales that were tuned, of both kinds of blocks, and of one that can have negative ones.
    let tuned = ["Q2_K", "Q4_0", "IQ4_NL"].map(|preset| (preset, true));
    for (preset, tunes) in made.into_iter().chain(tuned) {
        let out = at(&format!("{preset}-{tunes}"));
        let options = QuantizeOptions::new(Preset::parse(preset).unwrap());
        let mut planned = plan(&source, &out, &options, importance.as_ref()).unwrap();
        let layers = LayerOptions::new(windows.clone(), dir.path()).max_memory(1 << 30);
        let outputs = &mut planned.outputs;
        let report = if tunes {
            let options = LossOptions::new(layers).steps(4);
            let report = optimize::loss(&model, &source, outputs, &options, &mut |_, _, _| {}).unwrap();
            assert!(
                report.tuned.as_ref().is_some_and(|tuned| tuned.best > 0),
                "{preset}: no step was kept"
            );
            report
        } else {
            optimize::layers(&model, &source, outputs, &layers, &mut |_, _| {}).unwrap()
        };
        let learned = report.tensors.iter().filter(|t| t.kept.is_none()).count();
        assert!(
            learned > 10,
            "{preset}: {learned} of {} tensors",
            report.tensors.len()
        );
        run(&source, &planned, &PipelineOptions::default(), None, &|_| {}).unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("py/stock.py");
        let done = Command::new(python.executable())
            .arg(&script)
            .arg("load")
            .arg(&out)
            .env("ORACLE_CACHE", oracle::home())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{preset}: {said}");
    }
}
