//! `transformers5 OUT_DIR [NAME ...]`: the directories that `py/transformers5.py` put there, as transformers 4.57
//! and as transformers 5 write them. Both are converted and compared, and our logits with transformers 5's. One row
//! for each case; exit status 1 when one differs.

use std::path::Path;

use anyhow::{Context as _, Result};
use convert::pipeline::{PipelineOptions, execute};
use convert::plan::OutputPlan;
use convert::source::Source as _;
use convert::source::hf::{HfOptions, HfSource, OutType};
use oracle::forward;

fn main() -> Result<()> {
    let (dir, names) = oracle::cases("usage: transformers5 OUT_DIR [NAME ...]")?;
    let mut failed = 0;
    println!("{:<22} {:<36} converted  logits", "case", "class");
    for name in &names {
        let folder = dir.join(name);
        let class = forward::class(&folder.join("model")).unwrap_or_else(|e| format!("({e})"));
        if let Ok(why) = std::fs::read_to_string(folder.join("five/why")) {
            println!("{name:<22} {class:<36} -          -\n    {}", why.trim());
            continue;
        }
        let found = compared(&folder).unwrap_or_else(|e| vec![format!("{e:#}")]);
        if let Some((.., why)) = REFUSED
            .iter()
            .find(|(case, said, _)| case == name && found.len() == 1 && found[0].contains(said))
        {
            println!("{name:<22} {class:<36} refused    -\n    {why}");
            continue;
        }
        let (named, differences): (Vec<String>, Vec<String>) =
            found.into_iter().partition(|line| reason(line).is_some());
        let distance = forward::distance(&folder.join("five"), &folder.join("five/model"));
        let shown = match &distance {
            Ok(None) => "-".to_owned(),
            Ok(Some(d)) => format!("{d:.1e}"),
            Err(_) => "FAR".to_owned(),
        };
        let word = match differences.is_empty() {
            false => "DIFFERS",
            // Made by transformers 5: there is nothing of 4.57 to compare.
            true if folder.join("model").is_symlink() => "alone",
            true => "equal",
        };
        println!("{name:<22} {class:<36} {word:<10} {shown}");
        failed += usize::from(!differences.is_empty() || distance.is_err());
        let mut reasons: Vec<&str> = named.iter().filter_map(|line| reason(line)).collect();
        reasons.sort_unstable();
        reasons.dedup();
        for line in reasons.into_iter().map(str::to_owned).chain(differences) {
            println!("    {line}");
        }
        if let Err(error) = distance {
            println!("    {error:#}");
        }
    }
    println!("{} cases, {failed} with differences", names.len());
    if failed > 0 {
        std::process::exit(1);
    }
    Ok(())
}

const CALLED_GLM: &str =
    "5 saves the published names under the class Glm4MoeForCausalLM, where stock stops too";

/// Cases that make no whole model: (case, what the message names, why).
const REFUSED: &[(&str, &str, &str)] = &[
    (
        "bert-classifier-plain",
        "tensor 'cls.weight'",
        "refused as 4.57's directory is: llama.cpp loads no classifier without the layer before it",
    ),
    (
        "bailingmoe2-sarvam",
        "no place in the glm4moe architecture",
        CALLED_GLM,
    ),
    (
        "bailingmoe2-sarvam-code",
        "no place in the glm4moe architecture",
        CALLED_GLM,
    ),
    (
        "five-bitnet",
        "hidden_act is \"relu2\"",
        "squared ReLU, which 5's class computes where nothing is said and llama.cpp's graph does not",
    ),
    (
        "five-hy_v4",
        "tensor model.hc_pre.hc_head.hc_head_base",
        "the last connections are saved under a name that the published models do not have and stock does not know",
    ),
    (
        "five-minimax-m3",
        "no key n_shared_experts",
        "5 leaves out the number of shared experts, without which stock stops too",
    ),
    (
        "kimi-linear-model",
        "tensor 'output.weight'",
        "no output matrix: 5's class has none, and llama.cpp's graph needs one",
    ),
];

const ADDED: &str = "added tokens: of T5's tokenizer.json alone they are known";

/// Differences between the two conversions that are as they should be: (beginning and end of the line that tells of
/// one, what it is).
const NAMED: &[(&str, &str, &str)] = &[
    (
        "tokenizer.ggml.add_",
        "_token is missing; Bool(false) expected",
        "no add_eos_token: 5 leaves out what is false, and llama.cpp takes it for false",
    ),
    (
        "tokenizer.ggml.add_sep_token is Bool(false)",
        "not expected",
        "add_sep_token false: known from the post-processor of tokenizer.json",
    ),
    (
        "tokenizer.ggml.add_space_prefix is Bool(false)",
        "not expected",
        "add_space_prefix false: known from tokenizer.json, which stock does not read beside a tokenizer.model",
    ),
    (
        "",
        "_token_id is U32(0), not expected",
        "a token id: 5 writes its class's own into the configuration, and stock takes it from there",
    ),
    (
        "tokenizer.ggml.bos_token_id is U32(151643)",
        "not expected",
        "a token id: 5 writes its class's own into the configuration, and stock takes it from there",
    ),
    (
        "tokenizer.ggml.padding_token_id is U32(",
        "not expected",
        "a token id: 5 writes its class's own into the configuration, and stock takes it from there",
    ),
    (
        "",
        "_length is U32(16), not expected",
        "key_length and value_length: 5 writes head_dim where 4.57 leaves it to be computed",
    ),
    (
        "mimo2.expert_group_",
        "count is U32(1), not expected",
        "expert groups: 5 writes its class's one group, which is none",
    ),
    (
        "laguna.attention.sliding_window",
        "not expected",
        "sliding_window: 5 writes its class's own where no layer has a window",
    ),
    (
        "olmo2.rope.freq_base_swa",
        "not expected",
        "freq_base_swa: 5 writes the one base for both kinds of layers",
    ),
    (
        "tokenizer.ggml.pre: String(\"joyai-llm\")",
        "is not String(\"deepseek-v3\")",
        "pre joyai-llm: what llama.cpp calls deepseek-v3 without a first token; it splits alike",
    ),
    (
        "tokenizer.ggml.remove_extra_whitespaces: Bool(false) is not",
        "",
        "remove_extra_whitespaces, <mask>: of XLM-RoBERTa's tokenizer.json alone as the stock converter has them",
    ),
    (
        "tokenizer.ggml.add_space_prefix: Bool(true) is not",
        "",
        "add_space_prefix true: 5 writes add_prefix_space, which the stock converter reads",
    ),
    (
        "tokenizer.ggml.",
        ", \"[PAD1200]\"]))…",
        "remove_extra_whitespaces, <mask>: of XLM-RoBERTa's tokenizer.json alone as the stock converter has them",
    ),
    (
        "tokenizer.ggml.",
        ", -10000.0]))…",
        "the last token: <mask> of XLM-RoBERTa's tokenizer.json, which a SentencePiece file leaves to padding",
    ),
    (
        "tokenizer.ggml.token_type: …",
        "1, 3]))… is not …1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 5]))…",
        "the last token: <mask> of XLM-RoBERTa's tokenizer.json, which a SentencePiece file leaves to padding",
    ),
    (
        "tokenizer.ggml.tokens: …",
        "\"[PAD1200]\", \"[PAD1201]\", \"[PAD1202]\", \"[PAD1203]\", \"[PAD1204…",
        ADDED,
    ),
    ("tokenizer.ggml.scores: …", "-10000.0, -10000.0, …", ADDED),
    ("tokenizer.ggml.token_type: …", "5, 5, 5, 5, 5]))…", ADDED),
    (
        "tokenizer.ggml.add_space_prefix: Bool(false) is not Bool(true)",
        "",
        "add_space_prefix false: known from tokenizer.json, which stock does not read beside a tokenizer.model",
    ),
    (
        "tokenizer.ggml.mask_token_id is U32(128002)",
        "not expected",
        "a token id: 5 writes its class's own into the configuration, and stock takes it from there",
    ),
    (
        "the same tensors in another order",
        "",
        "the order of tensors: 5 names those of layers without experts as it names experts",
    ),
    (
        "keys in order:",
        "",
        "the order of keys: 5 writes head_dim where 4.57 leaves it to be computed",
    ),
    (
        "tokenizer.ggml.scores: Array(F32([-1000.0",
        "",
        "scores: of a tokenizer.json alone the stock converter writes none for these classes",
    ),
    (
        "tokenizer.ggml.token_type: Array(I32([3, 3, 3, 1, 1, 1",
        "",
        "scores: of a tokenizer.json alone the stock converter writes none for these classes",
    ),
];

fn reason(line: &str) -> Option<&'static str> {
    let found = NAMED
        .iter()
        .find(|(start, end, _)| line.starts_with(start) && line.ends_with(end));
    found.map(|(.., reason)| *reason)
}

/// Differences between the conversions of the two directories of a case: the text model's and, where it has one, the
/// image encoder's.
fn compared(folder: &Path) -> Result<Vec<String>> {
    let temporary = tempfile::tempdir()?;
    let mut found = Vec::new();
    for mmproj in [false, true] {
        let target = folder.join("target");
        let options = HfOptions::default()
            .outtype(OutType::Auto)
            .mmproj(mmproj)
            .target_model_dir(Some(target).filter(|target| target.is_dir()));
        let older = match HfSource::open(&folder.join("model"), &options) {
            Err(_) if mmproj => continue,
            older => older?,
        };
        let file = temporary.path().join("older.gguf");
        let plan = OutputPlan::unquantized(&file, &older, Vec::new())?;
        execute(&older, &[plan], &PipelineOptions::default(), &|_| {})?;
        let newer = HfSource::open(&folder.join("five/model"), &options)
            .with_context(|| if mmproj { "image encoder" } else { "text model" })?;
        if !mmproj {
            // Whether it makes a whole model.
            OutputPlan::unquantized(temporary.path().join("newer.gguf"), &newer, Vec::new())?;
        }
        debug_assert_eq!(newer.metadata().architecture(), older.metadata().architecture());
        let more = oracle::files::differences(&newer, &file)?;
        found.extend(more.into_iter().map(|line| match mmproj {
            true => format!("image encoder: {line}"),
            false => line,
        }));
    }
    Ok(found)
}
