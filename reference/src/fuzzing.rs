//! Bodies of fuzz targets: any bytes may be given; a panic is a finding.

use std::io::Write as _;
use std::path::Path;
use std::sync::LazyLock;

use gguf::{Header, Metadata};

use crate::Model;
use crate::divergence::LogitsReader;
use crate::tasks::{HellaSwag, MultipleChoice, Tasks, Winogrande};
use crate::tokenizer::{Tokenizer, check};

/// Most bytes that are tokenized.
const MAX_TEXT: usize = 4096;
/// Texts that reach most branches of pre-tokenizers.
const TEXT: &str = "Hello  wörld 123456\n\n\t'll 你好🙂 <s></s><0x0A>  \u{a0}x";

/// Hands over a file of these bytes.
fn with_file(data: &[u8], run: impl FnOnce(&Path)) {
    let name = format!(
        "quantsmith-fuzz-{}-{:?}",
        std::process::id(),
        std::thread::current().id()
    );
    let path = std::env::temp_dir().join(name);
    let written = std::fs::File::create(&path).and_then(|mut f| f.write_all(data));
    if written.is_ok() {
        run(&path);
    }
    let _ = std::fs::remove_file(&path);
}

/// Opens a logits file and reads its first windows.
pub fn logits_file(data: &[u8]) {
    with_file(data, |path| {
        let Ok(mut reader) = LogitsReader::open(path) else {
            return;
        };
        for _ in 0..2 {
            let Ok(rows) = reader.next_window() else { break };
            for row in rows {
                let last = row.len().saturating_sub(1);
                let _ = (row.log_prob(0), row.log_prob(last));
            }
        }
    });
}

/// Most bytes that the forward pass of a fuzzed model may need.
const MAX_RUN_BYTES: u64 = 1 << 30;

/// Loads a model and runs it on a few tokens.
pub fn forward(data: &[u8]) {
    with_file(data, |path| {
        let Ok(model) = Model::load(path) else { return };
        let tokens = [0, 1, 2, 3, 1, 0, 2];
        let needed = model.bytes_per_token().saturating_mul(tokens.len() as u64);
        if needed.saturating_add(model.bytes_per_run()) > MAX_RUN_BYTES {
            return;
        }
        if let Ok(logits) = model.forward(&[&tokens, &tokens[..3]], 0..2, None) {
            assert_eq!(logits.data.len(), logits.rows * logits.vocabulary);
        }
        let _ = model.embed(&[&tokens]);
    });
}

/// A tokenizer of four tokens.
static TOKENIZER: LazyLock<Option<Tokenizer>> = LazyLock::new(|| {
    let mut metadata = Metadata::new();
    metadata.set("tokenizer.ggml.model", "gpt2");
    metadata.set("tokenizer.ggml.pre", "gpt-2");
    metadata.set("tokenizer.ggml.tokens", vec!["a", "b", "ab", "\u{120}"]);
    metadata.set("tokenizer.ggml.token_type", vec![1i32; 4]);
    metadata.set("tokenizer.ggml.merges", vec!["a b"]);
    Tokenizer::from_metadata(&metadata).ok()
});

/// Tasks of every kind: parsed, and the first of them turned into tokens. The first byte is how many are
/// kept.
pub fn tasks(data: &[u8]) {
    let Some((&limit, data)) = data.split_first() else {
        return;
    };
    let use_them = |tasks: &dyn Tasks| {
        let Some(tokenizer) = &*TOKENIZER else { return };
        for index in 0..tasks.len().min(4) {
            let Ok(sequences) = tasks.sequences(index, tokenizer) else {
                continue;
            };
            let values = sequences.iter().map(|s| {
                assert!(s.positions.end <= s.tokens.len());
                assert_eq!(s.positions.len(), s.targets.len());
                vec![-1.0; s.targets.len()]
            });
            let values: Vec<Vec<f64>> = values.collect();
            let score = tasks.score(index, &values);
            assert!(score.chosen < score.answers.len());
        }
    };
    let limit = usize::from(limit);
    if let Ok(tasks) = HellaSwag::parse(data, limit) {
        use_them(&tasks);
    }
    if let Ok(tasks) = Winogrande::parse(data, limit) {
        use_them(&tasks);
    }
    if let Ok(tasks) = MultipleChoice::parse(data, limit) {
        use_them(&tasks);
    }
}

/// The tokenizer that the metadata of any header describes, on fixed text.
pub fn tokenizer(data: &[u8]) {
    if let Ok(header) = Header::parse_bytes(data) {
        let _ = check(&header.metadata, None);
        run(&header.metadata, TEXT.as_bytes());
    }
}

/// A tokenizer made of pieces of the input, on the rest of it.
pub fn vocabulary(data: &[u8]) {
    const MODELS: [&str; 6] = ["llama", "gpt2", "bert", "t5", "rwkv", "plamo2"];
    const PRES: [&str; 6] = ["gpt-2", "llama-bpe", "qwen2", "default", "deepseek-llm", "gpt-4o"];
    let [model, pre, cut, rest @ ..] = data else {
        return;
    };
    let (vocabulary, text) = rest.split_at(rest.len() * usize::from(*cut) / 256);
    let mut tokens: Vec<gguf::GgufString> = vec!["<unk>".into(), "<s>".into(), "</s>".into()];
    tokens.extend(
        vocabulary
            .split(|&b| b == 0)
            .map(|t| gguf::GgufString(t.to_vec())),
    );
    let mut kinds = vec![2i32, 3, 3];
    kinds.extend(
        tokens
            .iter()
            .skip(3)
            .map(|t| i32::from(t.0.first().copied().unwrap_or(1) % 8)),
    );
    let scores: Vec<f32> = tokens.iter().map(|t| -(t.0.len() as f32)).collect();
    let merges: Vec<gguf::GgufString> = tokens
        .windows(2)
        .map(|w| gguf::GgufString([w[0].0.as_slice(), b" ", w[1].0.as_slice()].concat()))
        .collect();
    let mut metadata = Metadata::new();
    metadata.set("tokenizer.ggml.model", MODELS[usize::from(*model) % MODELS.len()]);
    metadata.set("tokenizer.ggml.pre", PRES[usize::from(*pre) % PRES.len()]);
    metadata.set("tokenizer.ggml.tokens", tokens);
    metadata.set("tokenizer.ggml.scores", scores);
    metadata.set("tokenizer.ggml.token_type", kinds);
    metadata.set("tokenizer.ggml.merges", merges);
    run(&metadata, text);
}

fn run(metadata: &Metadata, text: &[u8]) {
    let Ok(tokenizer) = Tokenizer::from_metadata(metadata) else {
        return;
    };
    let text = &text[..text.len().min(MAX_TEXT)];
    for (add, parse) in [(true, true), (false, false)] {
        let ids = tokenizer.encode(text, add, parse);
        assert!(
            ids.iter().all(|&id| (id as usize) < tokenizer.n_vocab()),
            "an id beyond the vocabulary"
        );
        let _ = tokenizer.decode(&ids, true, true);
    }
    let _ = tokenizer.piece(u32::MAX);
}
