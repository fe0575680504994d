//! Directories in Mistral's own layout against llama.cpp's converter: whole files, byte by byte.
//!
//! The output of the stock converter for the tiny models is kept as digests (`py/stock_mistral.py`). With a Python that has
//! the packages of `py/requirements-converter.txt` and `mistral-common`, published vocabularies are one command:
//!
//! ```text
//! QUANTSMITH_CONVERTER_PYTHON=python cargo test -p quantsmith-oracle --test all -- --ignored mistral::
//! ```

use convert::digest::file_sha256;
use std::path::{Path, PathBuf};
use std::process::Command;

use convert::pipeline::{PipelineOptions, execute};
use convert::plan::OutputPlan;
use convert::quantize::{QuantizeOptions, plan, run};
use convert::recipe::Preset;
use convert::source::hf::{HfOptions, HfSource, OutType};
use convert::source::{GgufSource, Source};
use reference::{Model, PerplexityOptions, Tokenizer, perplexity};
use tempfile::TempDir;

/// A directory, and in it the folder of the tiny models.
fn made(python: &oracle::Python) -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let models = dir.path().join("models");
    python.run("mistral_models.py", [models.as_os_str()]).unwrap();
    (dir, models)
}

/// Options by the stock converter's names, without the dashes.
fn options(words: &[&str]) -> HfOptions {
    let mut options = HfOptions::default();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match *word {
            "mistral-format" => options.mistral_format = true,
            "disable-mistral-community-chat-template" => options.no_named_template = true,
            "vocab-only" => options.vocab_only = true,
            "mmproj" => options.mmproj = true,
            "outtype" => options.outtype = OutType::from_name(words.next().unwrap()).unwrap(),
            other => panic!("unknown option {other}"),
        }
    }
    options
}

fn convert(model: &Path, options: &HfOptions, out: &Path) -> HfSource {
    let source = HfSource::open(model, options).unwrap_or_else(|e| panic!("{}: {e}", model.display()));
    let mut plan = OutputPlan::unquantized(out, &source, Vec::new()).unwrap();
    if options.vocab_only {
        plan = plan.bare().unwrap();
    }
    execute(&source, &[plan], &PipelineOptions::default(), &|_| {}).unwrap();
    source
}

fn digest(path: &Path) -> String {
    file_sha256(path).unwrap()
}

#[test]
fn tiny_models_equal_the_stock_converters_files() {
    let Some(python) = oracle::python() else { return };
    let (dir, models) = made(&python);
    let out = dir.path().join("out.gguf");
    let mut compared = 0;
    for line in include_str!("../digests/mistral.txt").lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let [model, given @ .., expected] = &words[..] else {
            panic!("malformed line {line:?}")
        };
        let mut options = options(given);
        if model.starts_with("Latent") {
            options.pre_tokenizer = Some("tekken".to_owned());
        }
        let source = convert(&models.join(model), &options, &out);
        assert_eq!(
            digest(&out),
            *expected,
            "{model} {given:?}: {:?}",
            source.warnings()
        );
        compared += 1;
    }
    assert_eq!(compared, 55);
}

#[test]
fn a_context_length_is_always_written() {
    let Some(python) = oracle::python() else { return };
    let (dir, models) = made(&python);
    for (name, expected, is_told) in [("Short-Long", 4096, false), ("Short-Silent", 128_000, true)] {
        let out = dir.path().join(format!("{name}.gguf"));
        let source = convert(
            &models.join(name),
            &options(&["mistral-format", "outtype", "f16"]),
            &out,
        );
        assert_eq!(source.metadata().get_u64("llama.context_length"), Some(expected));
        let told = source
            .warnings()
            .iter()
            .any(|w| w.contains("neither max_position_embeddings nor"));
        assert_eq!(told, is_told, "{:?}", source.warnings());
        python
            .run("stock.py", ["load".as_ref(), out.as_os_str()])
            .unwrap();
    }
}

#[test]
fn the_layout_is_found_without_the_flag_and_named() {
    let Some(python) = oracle::python() else { return };
    let (dir, models) = made(&python);
    let (a, b) = (dir.path().join("a.gguf"), dir.path().join("b.gguf"));
    let alone = models.join("Tiny-Nemo-2407");
    let found = convert(&alone, &options(&["outtype", "f16"]), &a);
    convert(&alone, &options(&["mistral-format", "outtype", "f16"]), &b);
    assert_eq!(digest(&a), digest(&b));
    assert!(
        found
            .warnings()
            .iter()
            .any(|w| w.contains("Mistral's own layout")),
        "{:?}",
        found.warnings()
    );

    // As Mistral publishes: both layouts in one directory.
    let both = models.join("Tiny-Small-3.1-2503");
    convert(&both, &options(&["outtype", "f16"]), &a);
    for name in ["params.json", "consolidated-00001-of-00002.safetensors"] {
        std::fs::copy(alone.join(name), both.join(name)).unwrap();
    }
    let source = convert(&both, &options(&["outtype", "f16"]), &b);
    assert_eq!(digest(&a), digest(&b));
    let said = source
        .warnings()
        .iter()
        .filter(|w| w.contains("consolidated-00001-of-00002.safetensors"))
        .collect::<Vec<_>>();
    assert_eq!(said.len(), 1, "{:?}", source.warnings());
    assert!(
        said[0].contains("params.json, tekken.json") && said[0].contains("mistral_format converts it"),
        "{said:?}"
    );
}

#[test]
fn stock_loads_them() {
    let Some(python) = oracle::python() else { return };
    let (dir, models) = made(&python);
    for name in ["Tiny-Mistral-v0.3", "Tiny-Ministral-3-2512", "Tiny-Large-3-2512"] {
        let out = dir.path().join(format!("{name}.gguf"));
        convert(&models.join(name), &options(&["outtype", "f16"]), &out);
        python
            .run("stock.py", ["load".as_ref(), out.as_os_str()])
            .unwrap_or_else(|e| panic!("{name}: {e:#}"));
    }
}

/// `text_config` of model type mistral4: the keys that the stock converter writes, and what its loader wants.
#[test]
fn mistral_small_4_has_an_architecture_of_its_own() {
    let Some(python) = oracle::python() else { return };
    let (dir, models) = made(&python);
    let out = dir.path().join("out.gguf");
    let given = options(&["outtype", "f16"]).pre_tokenizer(Some("tekken".to_owned()));
    let source = convert(&models.join("Latent-Small-4"), &given, &out);
    let metadata = source.metadata();
    assert_eq!(metadata.architecture(), "mistral4");
    for (key, expected) in [
        ("attention.head_count", 4),
        ("attention.head_count_kv", 1),
        ("attention.key_length", 40),
        ("attention.value_length", 32),
        ("attention.key_length_mla", 24),
        ("attention.value_length_mla", 16),
        ("expert_count", 4),
        ("expert_feed_forward_length", 32),
        ("leading_dense_block_count", 0),
        ("rope.dimension_count", 8),
    ] {
        assert_eq!(
            metadata.get_u64(&format!("mistral4.{key}")),
            Some(expected),
            "{key}"
        );
    }
    assert_eq!(
        metadata.get("mistral4.rope.scaling.yarn_log_multiplier"),
        Some(&gguf::Value::F32(0.1))
    );
    let shape = |name: &str| {
        source
            .tensors()
            .iter()
            .find(|t| t.name == name)
            .map(|t| t.shape.clone())
    };
    assert_eq!(shape("blk.1.ffn_gate_up_exps.weight"), Some(vec![64, 64, 4]));
    assert_eq!(shape("blk.1.ffn_down_exps.weight"), Some(vec![32, 64, 4]));
    assert_eq!(shape("blk.0.attn_k_b.weight"), Some(vec![16, 32, 4]));
    python
        .run("stock.py", ["load".as_ref(), out.as_os_str()])
        .unwrap();
}

#[test]
fn encoders_are_quantized_as_stock_does() {
    let Some(python) = oracle::python() else { return };
    let (dir, models) = made(&python);
    let encoder = dir.path().join("mmproj.gguf");
    let given = options(&["mistral-format", "mmproj", "outtype", "f16"]);
    convert(&models.join("Tiny-Pixtral-2409"), &given, &encoder);
    let (ours, stock) = (dir.path().join("ours.gguf"), dir.path().join("stock.gguf"));
    for preset in ["Q8_0", "Q4_K_M", "F16"] {
        python
            .run(
                "stock.py",
                [
                    "quantize".as_ref(),
                    encoder.as_os_str(),
                    stock.as_os_str(),
                    preset.as_ref(),
                ],
            )
            .unwrap();
        let source = GgufSource::open(&encoder).unwrap();
        let options = QuantizeOptions::new(Preset::parse(preset).unwrap());
        let plan = plan(&source, &ours, &options, None).unwrap();
        run(&source, &plan, &PipelineOptions::default(), None, &|_| {}).unwrap();
        assert_eq!(digest(&ours), digest(&stock), "{preset}");
    }
}

/// Perplexity by stock llama.cpp, and by our forward pass.
fn perplexities(python: &oracle::Python, model: &Path, text: &Path) -> (f64, f64) {
    let said = python
        .run(
            "stock.py",
            [
                "ppl".as_ref(),
                model.as_os_str(),
                text.as_os_str(),
                "-c".as_ref(),
                "512".as_ref(),
            ],
        )
        .unwrap_or_else(|e| panic!("{}: {e:#}", model.display()));
    let stock = said.split("ppl=").nth(1).and_then(|rest| rest.split(' ').next());
    let stock = stock
        .and_then(|n| n.parse().ok())
        .unwrap_or_else(|| panic!("{said}"));
    let model = Model::load(model).unwrap();
    let tokenizer = Tokenizer::from_metadata(model.gguf().metadata()).unwrap();
    let tokens = tokenizer.encode(std::fs::read(text).unwrap(), true, false);
    let options = PerplexityOptions::default()
        .context(512)
        .bos(tokenizer.bos().filter(|_| tokenizer.add_bos()));
    let ours = perplexity(&model, &tokens, &options, &mut |_| {}).unwrap();
    (stock, ours.ppl)
}

#[test]
fn the_forward_pass_agrees_with_stock_beyond_the_original_context() {
    let Some(python) = oracle::python() else { return };
    let (dir, models) = made(&python);
    let text = dir.path().join("text.txt");
    let words = ["the thin hat ", "in her ear, ", "a tinier thing ", "er the ant "];
    let long: String = (0..700).map(|i| words[(i * i + i / 3) % 4]).collect();
    std::fs::write(&text, long).unwrap();
    for name in ["Tiny-Nemo-2407", "Tiny-Ministral-3-2512", "Tiny-Large-3-2512"] {
        let out = dir.path().join(format!("{name}.gguf"));
        convert(&models.join(name), &options(&["outtype", "f32"]), &out);
        let (stock, ours) = perplexities(&python, &out, &text);
        let difference = (stock.ln() - ours.ln()).abs();
        assert!(difference < 1e-4, "{name}: stock's {stock}, ours {ours}");
    }
}

#[test]
#[ignore = "needs a Python with torch and mistral-common: see the head of this file"]
fn published_vocabularies_equal_the_stock_converters() {
    let python = std::env::var_os("QUANTSMITH_CONVERTER_PYTHON")
        .unwrap_or_else(|| panic!("QUANTSMITH_CONVERTER_PYTHON is not set"));
    let converter = oracle::reference_sources().unwrap().join("convert_hf_to_gguf.py");
    let run = |args: &[&std::ffi::OsStr]| {
        let done = Command::new(&python).args(args).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap().trim().to_owned()
    };
    let data = run(&[
        "-c".as_ref(),
        "import mistral_common, pathlib; print(pathlib.Path(mistral_common.__file__).parent / 'data')"
            .as_ref(),
    ]);
    let data = PathBuf::from(data);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("py/mistral_models.py");
    let dir = tempfile::tempdir().unwrap();
    let models = dir.path().join("models");
    run(&[
        script.as_ref(),
        models.as_ref(),
        data.join("tekken_240911.json").as_ref(),
        data.join("tokenizer.model.v1").as_ref(),
    ]);
    let (ours, stock) = (dir.path().join("ours.gguf"), dir.path().join("stock.gguf"));
    let mut compared = 0;
    for item in std::fs::read_dir(models).unwrap() {
        let model = item.unwrap().path();
        run(&[
            converter.as_ref(),
            model.as_ref(),
            "--mistral-format".as_ref(),
            "--outtype".as_ref(),
            "f16".as_ref(),
            "--outfile".as_ref(),
            stock.as_ref(),
        ]);
        convert(&model, &options(&["mistral-format", "outtype", "f16"]), &ours);
        let equal = std::fs::read(&ours).unwrap() == std::fs::read(&stock).unwrap();
        assert!(equal, "{}", model.display());
        compared += 1;
    }
    assert_eq!(compared, 2);
}
