//! Bodies of fuzz targets: any bytes may be given; a panic is a finding.

use std::io::Write as _;

use gguf::{Header, Metadata};

use crate::divergence::LogitsReader;
use crate::tokenizer::{Tokenizer, check};

/// Most bytes that are tokenized.
const MAX_TEXT: usize = 4096;
/// Texts that reach most branches of pre-tokenizers.
const TEXT: &str = "Hello  wörld 123456\n\n\t'll 你好🙂 <s></s><0x0A>  \u{a0}x";

/// Opens a logits file and reads its first windows.
pub fn logits_file(data: &[u8]) {
    let name = format!(
        "quantsmith-fuzz-{}-{:?}",
        std::process::id(),
        std::thread::current().id()
    );
    let path = std::env::temp_dir().join(name);
    let written = std::fs::File::create(&path).and_then(|mut f| f.write_all(data));
    if written.is_ok()
        && let Ok(mut reader) = LogitsReader::open(&path)
    {
        for _ in 0..2 {
            let Ok(rows) = reader.next_window() else { break };
            for row in rows {
                let last = row.len().saturating_sub(1);
                let _ = (row.log_prob(0), row.log_prob(last));
            }
        }
    }
    let _ = std::fs::remove_file(&path);
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
