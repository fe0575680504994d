//! The examples, on the demo model.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};

use quantsmith::convert::Error;
use quantsmith::gguf::{GgufModel, TensorType};
use quantsmith::imatrix::ImportanceMatrix;

#[allow(dead_code, unreachable_pub, missing_docs, reason = "a program of its own")]
#[path = "../examples/collect_imatrix.rs"]
mod collect_imatrix;
#[allow(dead_code, unreachable_pub, missing_docs, reason = "a program of its own")]
#[path = "../examples/convert_directory.rs"]
mod convert_directory;
#[allow(dead_code, unreachable_pub, missing_docs, reason = "a program of its own")]
#[path = "../examples/custom_architecture.rs"]
mod custom_architecture;
#[allow(dead_code, unreachable_pub, missing_docs, reason = "a program of its own")]
#[path = "../examples/custom_source.rs"]
mod custom_source;
#[allow(dead_code, unreachable_pub, missing_docs, reason = "a program of its own")]
#[path = "../examples/decode_tensor.rs"]
mod decode_tensor;
#[allow(dead_code, unreachable_pub, missing_docs, reason = "a program of its own")]
#[path = "../examples/inspect.rs"]
mod inspect;
#[allow(dead_code, unreachable_pub, missing_docs, reason = "a program of its own")]
#[path = "../examples/measure.rs"]
mod measure;
#[allow(dead_code, unreachable_pub, missing_docs, reason = "a program of its own")]
#[path = "../examples/quantize_rows.rs"]
mod quantize_rows;
#[allow(dead_code, unreachable_pub, missing_docs, reason = "a program of its own")]
#[path = "../examples/write_gguf.rs"]
mod write_gguf;

/// The demo model in a folder, as the directory it came in and converted without loss.
struct Files {
    folder: tempfile::TempDir,
    directory: PathBuf,
    f16: PathBuf,
}

static FILES: LazyLock<Files> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join(demo::NAME);
    demo::write_model(&directory).unwrap();
    let f16 = folder.path().join("f16.gguf");
    convert_directory::convert(&directory, &f16, "F16", &AtomicBool::new(false), &|_| {}).unwrap();
    Files {
        folder,
        directory,
        f16,
    }
});

impl Files {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

fn types(path: &Path) -> Vec<TensorType> {
    let model = GgufModel::open(path).unwrap();
    model.tensors().map(|t| t.info.ty).collect()
}

#[test]
fn tensors_are_listed() {
    let lines = inspect::tensors(&FILES.f16).unwrap();
    let model = GgufModel::open(&FILES.f16).unwrap();
    assert_eq!(lines.len(), model.len());
    let embedding = model.info(model.find("token_embd.weight").unwrap());
    let line = format!(
        "token_embd.weight f16 [{}, {}] {} bytes",
        embedding.rows(),
        embedding.row_len(),
        embedding.rows() * embedding.row_len() * 2
    );
    assert!(lines.contains(&line), "{line}: {lines:#?}");
}

#[test]
fn a_tensor_is_decoded() {
    let name = "blk.0.attn_q.weight";
    let weights = decode_tensor::weights(&FILES.f16, name).unwrap();
    let model = GgufModel::open(&FILES.f16).unwrap();
    let info = model.info(model.find(name).unwrap());
    assert_eq!(weights.len() as u64, info.elements());
    assert!(weights.iter().any(|w| *w != 0.0) && weights.iter().all(|w| w.abs() < 100.0));
    let absent = decode_tensor::weights(&FILES.f16, "absent")
        .unwrap_err()
        .to_string();
    assert!(absent.contains("f16.gguf: no tensor 'absent'"), "{absent}");
}

#[test]
fn rows_are_quantized() {
    let rows: Vec<f32> = (0..1024).map(|i| (i as f32 * 0.37).sin()).collect();
    let error = |ty| quantize_rows::error(&rows, 512, ty).unwrap();
    let errors = [
        TensorType::Q8_0,
        TensorType::Q6_K,
        TensorType::Q4_K,
        TensorType::Q2_K,
    ]
    .map(error);
    assert!(errors[0] < 0.01 && errors.is_sorted(), "{errors:?}");
    assert!(error(TensorType::IQ2_XXS) < 0.5);
}

#[test]
fn a_conversion_is_followed_and_cancelled() {
    let whole = FILES.path("whole.gguf");
    let last = std::sync::Mutex::new((0, 0));
    let size = convert_directory::convert(
        &FILES.directory,
        &whole,
        "Q4_K_M",
        &AtomicBool::new(false),
        &|p| {
            let mut last = last.lock().unwrap();
            last.0 = p.done.max(last.0);
            last.1 = p.total;
        },
    )
    .unwrap();
    assert_eq!(std::fs::metadata(&whole).unwrap().len(), size);
    let (done, total) = *last.lock().unwrap();
    assert!(done == total && total > 5_000_000, "{done} of {total}");
    assert!(types(&whole).contains(&TensorType::Q4_K));

    // Stopped at the first piece: an error by itself, and nothing under the name or beside it.
    let stopped = FILES.path("stopped.gguf");
    let cancel = AtomicBool::new(false);
    let stop = |_| cancel.store(true, Ordering::Relaxed);
    let error = convert_directory::convert(&FILES.directory, &stopped, "Q4_K_M", &cancel, &stop);
    assert!(matches!(error, Err(Error::Cancelled)), "{error:?}");
    let left: Vec<_> = std::fs::read_dir(FILES.folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains("stopped"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_file_is_written_from_nothing() {
    let path = FILES.path("nothing.gguf");
    write_gguf::write(&path).unwrap();
    assert_eq!(types(&path), [TensorType::F32, TensorType::Q4_K]);
    let model = GgufModel::open(&path).unwrap();
    assert_eq!(model.metadata().architecture(), "example");
    let plain = decode_tensor::weights(&path, "plain.weight").unwrap();
    let blocks = decode_tensor::weights(&path, "blocks.weight").unwrap();
    assert_eq!(plain[0], 1.0);
    assert!(plain.iter().zip(&blocks).all(|(a, b)| (a - b).abs() < 0.1));
}

#[test]
fn importance_is_collected_from_documents() {
    let output = FILES.path("imatrix.gguf");
    let documents = demo::CALIBRATION_TEXT.split("\n\n").map(str::to_owned);
    let windows = collect_imatrix::calibrate(&FILES.f16, documents, &output, Some(2)).unwrap();
    let matrix = ImportanceMatrix::load(&output).unwrap();
    assert_eq!((windows, matrix.chunk_count, matrix.chunk_size), (2, 2, 512));
    let values = matrix.values("blk.0.ffn_down.weight").unwrap();
    assert!(values.iter().all(|v| v.is_finite() && *v >= 0.0) && values.iter().any(|v| *v > 0.0));
}

#[test]
fn a_quant_is_measured() {
    let quant = FILES.path("q2.gguf");
    convert_directory::convert(&FILES.directory, &quant, "Q2_K", &AtomicBool::new(false), &|_| {}).unwrap();
    let (ppl, lost) = measure::measure(&FILES.f16, &quant, demo::EVALUATION_TEXT, Some(2)).unwrap();
    assert!((lost.ppl_base.value - ppl).abs() < 1e-3 * ppl, "{ppl} {lost:?}");
    assert!(lost.kld.value > 0.01 && lost.ppl.value > ppl, "{lost:?}");
}

#[test]
fn weights_in_memory_are_quantized() {
    let path = FILES.path("waves.gguf");
    custom_source::write(&path, TensorType::Q5_K).unwrap();
    assert_eq!(types(&path), [TensorType::Q5_K; 3]);
    let weights = decode_tensor::weights(&path, "wave.1.weight").unwrap();
    let worst = weights
        .iter()
        .enumerate()
        .map(|(i, w)| (w - (i as f32 * 0.02).sin()).abs())
        .fold(0f32, f32::max);
    assert!(worst < 0.1, "{worst}");
}

/// A directory of a made-up family: two layers of four by eight, and the demo's tokenizer.
fn willow(directory: &Path, queries: u64) {
    demo::write_model(directory).unwrap();
    let f16 = GgufModel::open(&FILES.f16).unwrap();
    let tokens = f16.info(f16.find("token_embd.weight").unwrap()).rows();
    let mut tensors: Vec<(String, Vec<u64>)> = vec![
        ("roots.tokens.weight".to_owned(), vec![tokens, 8]),
        ("crown.norm.weight".to_owned(), vec![8]),
        ("crown.head.weight".to_owned(), vec![tokens, 8]),
    ];
    for layer in 0..2 {
        let mut add =
            |name: &str, shape: &[u64]| tensors.push((format!("branches.{layer}.{name}"), shape.to_vec()));
        add("norm1.weight", &[8]);
        add("norm2.weight", &[8]);
        add("qkv.weight", &[queries, 8]);
        add("out.weight", &[8, 8]);
        add("gate.weight", &[16, 8]);
        add("up.weight", &[16, 8]);
        add("down.weight", &[8, 16]);
        add("rotation", &[2]);
    }
    let (mut entries, mut data) = (Vec::new(), Vec::new());
    for (name, shape) in &tensors {
        let start = data.len();
        let count: u64 = shape.iter().product();
        data.extend((0..count).flat_map(|at| (at as f32 / 64.0).to_le_bytes()));
        entries.push(format!(
            r#""{name}":{{"dtype":"F32","shape":{shape:?},"data_offsets":[{start},{}]}}"#,
            data.len()
        ));
    }
    let header = format!("{{{}}}", entries.join(","));
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.extend(data);
    std::fs::write(directory.join("model.safetensors"), file).unwrap();
    let config = format!(
        r#"{{"architectures":["WillowForCausalLM"],"num_hidden_layers":2,"width":8,"inner":16,"heads":2,"seen":64,"vocab_size":{tokens}}}"#
    );
    std::fs::write(directory.join("config.json"), config).unwrap();
}

#[test]
fn a_family_of_ones_own_is_converted() {
    let (directory, path) = (FILES.path("willow"), FILES.path("willow.gguf"));
    willow(&directory, 24);
    custom_architecture::convert(&directory, &path).unwrap();
    let model = GgufModel::open(&path).unwrap();
    assert_eq!(model.metadata().architecture(), "llama");
    assert_eq!(model.metadata().get_u64("llama.attention.head_count"), Some(2));
    let weights = |name: &str| decode_tensor::weights(&path, name).unwrap();
    for (part, first) in [("q", 0.0), ("k", 1.0), ("v", 2.0)] {
        let rows = weights(&format!("blk.1.attn_{part}.weight"));
        assert_eq!((rows.len(), rows[0], rows[63]), (64, first, first + 63.0 / 64.0));
    }
    assert_eq!(weights("output_norm.weight")[..2], [1.0, 1.0 + 1.0 / 64.0]);
    let found = quantsmith::convert::verify::check(&model, &|_| ()).unwrap();
    let errors = found
        .iter()
        .filter(|f| f.severity == quantsmith::convert::verify::Severity::Error);
    assert_eq!(
        errors.map(|f| &f.message).collect::<Vec<_>>(),
        Vec::<&String>::new()
    );

    // Rows that are no three parts: the rule's own words, and the file. Nothing is written.
    willow(&directory, 25);
    let error = custom_architecture::convert(&directory, &FILES.path("none.gguf")).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("qkv: expected three equal parts, found 25 rows"),
        "{error}"
    );
    // Parts that are not what the graph needs.
    willow(&directory, 12);
    let error = custom_architecture::convert(&directory, &FILES.path("none.gguf")).unwrap_err();
    assert!(error.to_string().contains("blk.0.attn_q.weight"), "{error}");
    assert!(!FILES.path("none.gguf").exists());
}
