//! Mutated inputs through the parsers, for machines without a fuzzer, and the count that the project has to
//! hold: 100,000 mutated files through `inspect` and `verify` without a crash, a hang of more than a second,
//! or more than 64 MiB beyond the file.
//!
//! ```text
//! mutate files [--count N] [--seed N]                 the count above
//! mutate target NAME|all [--seconds N] [--seed N]     one fuzz target, from its corpus
//! mutate seeds DIR                                    writes the seed corpora
//! ```
//!
//! A finding is kept under `fuzz/crashes/NAME`, where the tests replay it.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use convert::fuzzing;
use peak_alloc::PeakAlloc;
use quantsmith_cli::fuzzing::{Mutator, TARGETS, Target, find, inspect_and_verify, seed_model};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Longest time that one file may take.
const MAX_TIME: Duration = Duration::from_secs(1);
/// Memory that one file may take beyond its own size, in bytes.
const MAX_MEMORY: usize = 64 << 20;
/// Further tries of an input that took longer.
const RETRIES: usize = 4;
/// Time after which an input counts as hanging for good.
const HANG: Duration = Duration::from_secs(30);

/// Counts over all inputs.
#[derive(Default)]
struct Seen {
    inputs: u64,
    findings: BTreeMap<&'static str, u64>,
    slowest: Duration,
    largest: usize,
}

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let option = |name: &str, default: u64| -> anyhow::Result<u64> {
        match args.iter().position(|a| a == name) {
            Some(at) => args
                .get(at + 1)
                .context("a number is missing")?
                .parse()
                .context(name.to_owned()),
            None => Ok(default),
        }
    };
    let seed = option("--seed", 2026)?;
    std::panic::set_hook(Box::new(|_| {}));
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let clean = match words.as_slice() {
        ["files", ..] => files(option("--count", 100_000)?, seed)?,
        ["target", name, ..] => {
            let seconds = Duration::from_secs(option("--seconds", 60)?);
            let chosen: Vec<Target> = match *name {
                "all" => TARGETS.to_vec(),
                name => vec![find(name).with_context(|| format!("no target {name:?}"))?],
            };
            let mut clean = true;
            for target in chosen {
                clean &= fuzz(target, seconds, seed)?;
            }
            clean
        }
        ["seeds", folder, ..] => return write_seeds(Path::new(folder)),
        _ => bail!("usage: mutate files|target NAME|seeds DIR (see the head of the source)"),
    };
    if !clean {
        bail!("there are findings");
    }
    Ok(())
}

/// The repository's folder of corpora.
fn home() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz")
}

/// The fastest place for small files.
fn scratch() -> anyhow::Result<tempfile::TempDir> {
    let memory = Path::new("/dev/shm");
    Ok(if memory.is_dir() {
        tempfile::tempdir_in(memory).or_else(|_| tempfile::tempdir())?
    } else {
        tempfile::tempdir()?
    })
}

/// Runs one input and notes what it cost.
fn observe(seen: &mut Seen, kept: &Path, input: &[u8], limits: bool, run: impl Fn()) -> anyhow::Result<()> {
    static STARTED: AtomicU64 = AtomicU64::new(0);
    let epoch = *EPOCH.get_or_init(Instant::now);
    STARTED.store(epoch.elapsed().as_millis() as u64 + 1, Ordering::Relaxed);
    if seen.inputs == 0 {
        // What never returns is kept by a thread beside it, and ends the run.
        let last = kept.join("hang");
        std::thread::spawn(move || {
            loop {
                std::thread::sleep(HANG);
                let started = STARTED.load(Ordering::Relaxed);
                if started > 0 && epoch.elapsed().as_millis() as u64 > started + HANG.as_millis() as u64 {
                    eprintln!(
                        "an input does not return; seed and count say which ({})",
                        last.display()
                    );
                    std::process::exit(3);
                }
            }
        });
    }
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    let start = Instant::now();
    let done = catch_unwind(AssertUnwindSafe(&run));
    let mut took = start.elapsed();
    STARTED.store(0, Ordering::Relaxed);
    let memory = MEMORY
        .peak_usage()
        .saturating_sub(before)
        .saturating_sub(input.len());
    // On a busy machine an input may only have waited: the fastest of some tries counts.
    for _ in 0..RETRIES {
        if took <= MAX_TIME || done.is_err() {
            break;
        }
        let start = Instant::now();
        run();
        took = took.min(start.elapsed());
    }
    seen.inputs += 1;
    seen.slowest = seen.slowest.max(took);
    seen.largest = seen.largest.max(memory);
    let what = match done {
        Err(_) => "panic",
        Ok(()) if limits && took > MAX_TIME => "slow",
        Ok(()) if limits && memory > MAX_MEMORY => "memory",
        Ok(()) => return Ok(()),
    };
    *seen.findings.entry(what).or_default() += 1;
    std::fs::create_dir_all(kept)?;
    let digest = input.iter().fold(0xcbf2_9ce4_8422_2325u64, |h, &b| {
        (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3)
    });
    let path = kept.join(format!("{what}-{digest:016x}"));
    std::fs::write(&path, input)?;
    eprintln!("{what}: {} ({took:?}, {memory} bytes)", path.display());
    Ok(())
}

static EPOCH: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();

fn report(name: &str, seen: &Seen, started: Instant) -> bool {
    println!(
        "{name}: {} inputs in {:.0} s, findings {:?}, slowest {:.3} s, most memory beyond the input {:.1} MiB",
        seen.inputs,
        started.elapsed().as_secs_f64(),
        seen.findings,
        seen.slowest.as_secs_f64(),
        seen.largest as f64 / f64::from(1 << 20),
    );
    seen.findings.is_empty()
}

fn files(count: u64, seed: u64) -> anyhow::Result<bool> {
    let folder = scratch()?;
    let path = folder.path().join("mutated.gguf");
    seed_model(&path)?;
    let mut seeds = vec![std::fs::read(&path)?];
    seeds.extend(corpus("gguf_commands")?);
    let mut mutator = Mutator::new(seed);
    let mut seen = Seen::default();
    let started = Instant::now();
    // What the first use of everything allocates for good is not counted.
    inspect_and_verify(&path);
    for index in 0..count {
        let base = &seeds[index as usize % seeds.len()];
        let other = &seeds[(index as usize / 7) % seeds.len()];
        let input = mutator.mutate(base, other);
        std::fs::write(&path, &input)?;
        let kept = home().join("crashes/gguf_commands");
        observe(&mut seen, &kept, &input, true, || inspect_and_verify(&path))?;
    }
    Ok(report("inspect and verify", &seen, started))
}

/// The inputs in a target's corpus.
fn corpus(name: &str) -> anyhow::Result<Vec<Vec<u8>>> {
    let folder = home().join("corpus").join(name);
    let mut paths: Vec<PathBuf> = match folder.read_dir() {
        Ok(entries) => entries.map(|e| Ok(e?.path())).collect::<std::io::Result<_>>()?,
        Err(_) => Vec::new(),
    };
    paths.sort();
    paths.iter().map(|p| Ok(std::fs::read(p)?)).collect()
}

fn fuzz(target: Target, time: Duration, seed: u64) -> anyhow::Result<bool> {
    let mut pool = corpus(target.name)?;
    if pool.is_empty() {
        pool.push(b"seed".to_vec());
    }
    let kept = home().join("crashes").join(target.name);
    let mut mutator = Mutator::new(seed);
    let mut seen = Seen::default();
    let started = Instant::now();
    let mut at = 0usize;
    while started.elapsed() < time {
        at += 1;
        let input = mutator.mutate(&pool[at % pool.len()], &pool[at / 5 % pool.len()]);
        observe(&mut seen, &kept, &input, false, || (target.run)(&input))?;
        // Without coverage to go by, some mutants are kept to be mutated again.
        if at.is_multiple_of(50) && input.len() < 1 << 16 {
            if pool.len() < 256 {
                pool.push(input);
            } else {
                let slot = 8 + at / 50 % 248;
                pool[slot] = input;
            }
        }
    }
    Ok(report(target.name, &seen, started))
}

/// Writes the seed corpora, small and reproducible.
fn write_seeds(folder: &Path) -> anyhow::Result<()> {
    let put = |target: &str, name: &str, bytes: &[u8]| -> anyhow::Result<()> {
        let folder = folder.join(target);
        std::fs::create_dir_all(&folder)?;
        Ok(std::fs::write(folder.join(name), bytes)?)
    };
    let scratch = scratch()?;
    let model = scratch.path().join("seed.gguf");
    seed_model(&model)?;
    let bytes = std::fs::read(&model)?;
    let header = gguf::GgufFile::open(&model)?.data_offset() as usize;
    for target in ["gguf_header", "gguf_round_trip", "tokenizer"] {
        put(target, "every-type", &bytes[..header])?;
    }
    put("gguf_shards", "two-a-shard", &[&[8], &bytes[..header]].concat())?;
    put("gguf_commands", "every-type", &bytes)?;

    matrices(&put, scratch.path())?;
    configurations(&put)?;
    for (name, text) in [
        ("byte-level", fuzzing::BYTE_LEVEL),
        ("byte-fallback", fuzzing::BYTE_FALLBACK),
        ("word-piece", fuzzing::WORD_PIECE),
        ("unigram", fuzzing::UNIGRAM),
    ] {
        put("tokenizer_json", name, text.as_bytes())?;
    }
    put("sentencepiece", "five-pieces", &fuzzing::sentencepiece_model())?;
    put("whole", "llama", fuzzing::WHOLE_CONFIG.as_bytes())?;
    put("config_json", "gemma3-vision", fuzzing::VISION_CONFIG.as_bytes())?;
    checkpoints(&put)?;
    side_files(&put)?;
    put(
        "digests",
        "one-model",
        b"xxh64     0123456789abcdef  m.gguf:a b  -  Ok\nsha256 00  m.gguf\n",
    )?;
    put("undo_note", "one-byte", &undo_note())?;
    // What is left, what is damaged, lines that are true, lines that follow.
    for (name, head) in [
        ("partial", [0, 0, 5]),
        ("published", [1, 0, 7]),
        ("damaged", [0, 40, 6]),
    ] {
        put(
            "journal",
            name,
            &[&head[..], b"0 1 0 34 0123456789abcdef 00000000\n"].concat(),
        )?;
    }
    tasks(&put)?;
    let path = scratch.path().join("llama.gguf");
    tiny_llama(&path)?;
    put("forward", "llama", &std::fs::read(&path)?)?;
    put("export", "llama", &std::fs::read(&path)?)?;
    let digest = "0".repeat(64);
    put(
        "manifest",
        "one-file",
        format!("{digest}  a-Q8_0.gguf\n").as_bytes(),
    )?;

    let mut logits = b"_logits_".to_vec();
    for word in [4u32, 3, 1, 1, 2, 0, 1] {
        logits.extend(word.to_le_bytes());
    }
    logits.extend([0; 16]);
    put("logits_file", "one-window", &logits)?;
    blocks(&put)?;
    let bytes = |count: u32, step: u32, low: u8| -> Vec<u8> {
        (0..count).map(|i| (i * step % 256) as u8 | low).collect()
    };
    put("recipe", "llama", &bytes(120, 29, 0))?;
    put("recipe", "experts", &bytes(160, 53, 1))?;
    for (index, name) in ["llama", "gpt2", "bert", "t5", "rwkv", "plamo2"]
        .into_iter()
        .enumerate()
    {
        let mut bytes = vec![index as u8, 0, 128];
        bytes.extend(b"a\0b\0ab\0<0x0A>\0\xe2\x96\x81a\0abab ab\na b <s> ab\xff");
        put("vocabulary", name, &bytes)?;
    }
    Ok(())
}

/// Puts a seed of a target under a name.
type Put<'a> = &'a dyn Fn(&str, &str, &[u8]) -> anyhow::Result<()>;

/// Importance in both forms.
fn matrices(put: Put<'_>, scratch: &Path) -> anyhow::Result<()> {
    let mut matrix = imatrix::ImportanceMatrix {
        datasets: vec!["text".into()],
        chunk_count: 2,
        chunk_size: 4,
        ..Default::default()
    };
    let entry = |sums: Vec<f32>, counts: Vec<f32>| imatrix::Entry { sums, counts };
    matrix
        .entries
        .insert("blk.0.a.weight", entry(vec![1.0, 2.0, 3.0, 4.0], vec![8.0]));
    matrix
        .entries
        .insert("blk.0.b.weight", entry(vec![1.0, 0.0, 0.0, 4.0], vec![8.0, 0.0]));
    let path = scratch.join("i.gguf");
    matrix.save(&path)?;
    put("imatrix", "gguf", &std::fs::read(&path)?)?;
    matrix.entries.remove("blk.0.b.weight");
    let path = scratch.join("i.dat");
    matrix.to_legacy_form().save(&path)?;
    put("imatrix", "legacy", &std::fs::read(&path)?)
}

/// Headers, an index and configurations of model directories.
fn configurations(put: Put<'_>) -> anyhow::Result<()> {
    let header = r#"{"__metadata__":{"format":"pt"},"model.norm.weight":{"dtype":"F32","shape":[8],"data_offsets":[0,32]},"model.layers.0.self_attn.q_proj.weight":{"dtype":"BF16","shape":[8,8],"data_offsets":[32,160]}}"#;
    let mut safetensors = (header.len() as u64).to_le_bytes().to_vec();
    safetensors.extend(header.as_bytes());
    safetensors.resize(safetensors.len() + 160, 0x3f);
    put("safetensors", "two-tensors", &safetensors)?;
    put(
        "safetensors_index",
        "two-files",
        br#"{"metadata":{"total_size":64},"weight_map":{"model.norm.weight":"model-00001-of-00002.safetensors","model.layers.0.input_layernorm.weight":"model-00002-of-00002.safetensors"}}"#,
    )?;
    for (name, class, more) in [
        (
            "llama",
            "LlamaForCausalLM",
            r#""rope_scaling":{"rope_type":"llama3","factor":8.0,"low_freq_factor":1.0,"high_freq_factor":4.0,"original_max_position_embeddings":8192}"#,
        ),
        (
            "qwen2",
            "Qwen2ForCausalLM",
            r#""rope_theta":1000000.0,"tie_word_embeddings":true"#,
        ),
        (
            "mixtral",
            "MixtralForCausalLM",
            r#""num_local_experts":2,"num_experts_per_tok":1"#,
        ),
        (
            "gemma2",
            "Gemma2ForCausalLM",
            r#""head_dim":4,"sliding_window":8,"final_logit_softcapping":30.0"#,
        ),
    ] {
        let text = format!(
            r#"{{"architectures":["{class}"],"hidden_size":8,"intermediate_size":8,"num_hidden_layers":1,"num_attention_heads":2,"num_key_value_heads":1,"vocab_size":4,"rms_norm_eps":1e-5,"max_position_embeddings":64,{more}}}"#
        );
        put("config_json", name, text.as_bytes())?;
    }
    Ok(())
}

/// Weights and a block of each type.
fn blocks(put: Put<'_>) -> anyhow::Result<()> {
    for (index, info) in gguf::TYPES.iter().enumerate() {
        let weights: Vec<f32> = (0..info.block_len.max(32))
            .map(|i| (i as f32 - 15.5) / 8.0)
            .collect();
        let raw: Vec<u8> = weights.iter().flat_map(|w| w.to_le_bytes()).collect();
        put("encode", info.name, &[&[index as u8, 0], raw.as_slice()].concat())?;
        let block: Vec<u8> = (0..info.block_bytes).map(|i| (i * 37 % 251) as u8).collect();
        put("decode", info.name, &[&[index as u8], block.as_slice()].concat())?;
    }
    Ok(())
}

fn checkpoints(put: Put<'_>) -> anyhow::Result<()> {
    let pickle = fuzzing::tensor_pickle(12, 2, &[2, 4], &[4, 1]);
    let strided = fuzzing::tensor_pickle(12, 0, &[4, 3], &[1, 4]);
    for (name, pickle) in [("contiguous", &pickle), ("strided", &strided)] {
        put("pickle", name, pickle)?;
        let members: [(&str, &[u8]); 3] = [
            ("m/data.pkl", pickle),
            ("m/byteorder", b"little"),
            ("m/data/0", &[0x3f; 48]),
        ];
        put("pytorch", name, &fuzzing::zip(&members))?;
    }
    for (name, bytes) in fuzzing::quantized_seeds() {
        put("quantized", name, &bytes)?;
    }
    let config = r#"{"lora_alpha":8,"r":2,"peft_type":"LORA"}"#;
    put(
        "adapter",
        "one-pair",
        &adapter(config, &[("mlp.up_proj", [2, 2])]),
    )?;
    let several = [
        ("self_attn.q_proj", [2, 2]),
        ("self_attn.k_proj", [4, 4]),
        ("mlp.down_proj", [1, 1]),
    ];
    let patterns = r#"{"lora_alpha":8,"r":2,"alpha_pattern":{".*layers.0.mlp.*":2,"q_proj":32},"rank_pattern":{"k_proj":4,"down_proj":1}}"#;
    put("adapter", "patterns", &adapter(patterns, &several))?;
    let stabilized =
        r#"{"lora_alpha":8,"use_rslora":true,"alpha_pattern":{"^model.layers.0.self_attn.k_proj":1}}"#;
    put("adapter", "stabilized", &adapter(stabilized, &several))
}

/// A configuration, and pairs of these ranks for weights of 8 x 8.
fn adapter(config: &str, pairs: &[(&str, [u64; 2])]) -> Vec<u8> {
    let (mut header, mut at) = (serde_json::Map::new(), 0);
    for (module, ranks) in pairs {
        for (side, shape) in [("A", [ranks[0], 8]), ("B", [8, ranks[1]])] {
            let name = format!("base_model.model.model.layers.0.{module}.lora_{side}.weight");
            let end = at + 4 * shape[0] * shape[1];
            let entry = serde_json::json!({"dtype": "F32", "shape": shape, "data_offsets": [at, end]});
            header.insert(name, entry);
            at = end;
        }
    }
    let header = serde_json::Value::Object(header).to_string();
    let mut out = [
        config.as_bytes(),
        &[0],
        &(header.len() as u64).to_le_bytes(),
        header.as_bytes(),
    ]
    .concat();
    // The bytes of numbers between a half and one, each its own.
    out.extend((0..at / 4).flat_map(|i| (0.5f32 + i as f32 / 512.0).to_le_bytes()));
    out
}

fn side_files(put: Put<'_>) -> anyhow::Result<()> {
    let files: [(u8, &str, &str); 12] = [
        (
            0,
            "card",
            "---\nlicense: mit\nlanguage:\n- en\n- no\nbase_model: [a/b, &x c/d, *x]\ntags: {a: ~}\n---\n# T\n",
        ),
        (
            1,
            "generation",
            r#"{"temperature":0.5,"top_k":4,"eos_token_id":[3,2]}"#,
        ),
        (
            2,
            "tokenizer-config",
            r#"{"add_bos_token":true,"bos_token":{"content":"<|end|>"},"eos_token":"a","added_tokens_decoder":{"3":{"content":"<|end|>","special":true}},"chat_template":[{"name":"default","template":"{{ messages }}"}]}"#,
        ),
        (
            3,
            "special-tokens",
            r#"{"bos_token":"a","eos_token":{"content":"b"}}"#,
        ),
        (4, "added-tokens", r#"{"<|end|>":3}"#),
        (5, "merges", "#version: 0.2\na b\n"),
        (6, "jinja", "{% for m in messages %}{{ m }}{% endfor %}"),
        (7, "template", r#"{"chat_template":"{{ x }}"}"#),
        (9, "modelopt", r#"{"quantization":{"quant_algo":"FP8"}}"#),
        (10, "gptq", r#"{"bits":4,"group_size":8}"#),
        (
            12,
            "modules",
            r#"[{"idx":1,"name":"1","path":"1_Pooling","type":"sentence_transformers.models.Pooling"}]"#,
        ),
        (
            136,
            "preprocessor",
            r#"{"image_mean":[0.5,0.5,0.5],"image_std":[0.5,0.5,0.5],"size":{"height":4,"width":4}}"#,
        ),
    ];
    for (choice, name, text) in files {
        put("side_file", name, &[&[choice], text.as_bytes()].concat())?;
    }
    Ok(())
}

/// The note of an edit that had changed the file's tenth byte.
fn undo_note() -> Vec<u8> {
    let mut note = b"GGUFundo".to_vec();
    note.extend(96u64.to_le_bytes());
    note.extend(9u64.to_le_bytes());
    note.push(0);
    note
}

fn tasks(put: Put<'_>) -> anyhow::Result<()> {
    put(
        "tasks",
        "hellaswag",
        b"\x04ab a\n1\nb\nab\na b\nbb\nb\n0\na\nb\nab\nba\n",
    )?;
    put(
        "tasks",
        "winogrande",
        b"\x000,\"a _ b, ab.\",a,b,2\n1,ab _ b a b a,b,ab,1\n\n",
    )?;
    let text = |text: &str| [&(text.len() as u32).to_le_bytes(), text.as_bytes()].concat();
    let mut task = text("ab");
    task.extend(
        [
            &2u32.to_le_bytes()[..],
            &text("a"),
            &text("b"),
            &[1, 0, 0, 0, 0, 0, 0, 0],
            &[0; 4],
        ]
        .concat(),
    );
    let positions = [12u32, 12 + task.len() as u32];
    let head: Vec<u8> = [2, positions[0], positions[1]]
        .iter()
        .flat_map(|n| n.to_le_bytes())
        .collect();
    for (name, limit) in [("multiple-choice", 0), ("multiple-choice-picked", 1)] {
        put("tasks", name, &[&[limit], &head[..], &task, &task].concat())?;
    }
    Ok(())
}

/// A Llama that runs: one layer of eight columns.
fn tiny_llama(path: &Path) -> anyhow::Result<()> {
    let mut m = gguf::Metadata::new();
    m.set("general.architecture", "llama");
    for (key, value) in [
        ("block_count", 1u32),
        ("context_length", 64),
        ("embedding_length", 8),
        ("feed_forward_length", 8),
        ("attention.head_count", 2),
        ("attention.head_count_kv", 1),
        ("rope.dimension_count", 4),
        ("vocab_size", 4),
    ] {
        m.set(format!("llama.{key}"), value);
    }
    m.set("llama.attention.layer_norm_rms_epsilon", 1e-5f32);
    m.set("tokenizer.ggml.model", "gpt2");
    m.set("tokenizer.ggml.pre", "gpt-2");
    m.set("tokenizer.ggml.tokens", vec!["a", "b", "ab", "<|end|>"]);
    m.set("tokenizer.ggml.token_type", vec![1i32, 1, 1, 3]);
    m.set("tokenizer.ggml.merges", vec!["a b"]);
    let tensors: [(&str, &[u64]); 11] = [
        ("token_embd.weight", &[8, 4]),
        ("output_norm.weight", &[8]),
        ("blk.0.attn_norm.weight", &[8]),
        ("blk.0.attn_q.weight", &[8, 8]),
        ("blk.0.attn_k.weight", &[8, 4]),
        ("blk.0.attn_v.weight", &[8, 4]),
        ("blk.0.attn_output.weight", &[8, 8]),
        ("blk.0.ffn_norm.weight", &[8]),
        ("blk.0.ffn_gate.weight", &[8, 8]),
        ("blk.0.ffn_up.weight", &[8, 8]),
        ("blk.0.ffn_down.weight", &[8, 8]),
    ];
    let tensors = tensors.map(|(name, shape)| (name.to_owned(), shape.to_vec(), gguf::TensorType::F32));
    let plan = gguf::FilePlan::new(m, tensors)?;
    let writer = gguf::Writer::create(path, &plan)?;
    for (index, tensor) in plan.tensors.iter().enumerate() {
        let weight = |i: u64| ((i * 37 + index as u64) % 23) as f32 / 16.0 - 0.5;
        let bytes: Vec<u8> = (0..tensor.elements())
            .flat_map(|i| weight(i).to_le_bytes())
            .collect();
        writer.write_at(index, 0, &bytes)?;
    }
    Ok(writer.finish()?)
}
