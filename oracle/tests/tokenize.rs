//! Token ids against llama.cpp: the ids that it ships for its own vocabularies, and the ids that its
//! library finds for generated text, for every vocabulary and every kind of pre-tokenizer.

use std::path::{Path, PathBuf};

use gguf::{Array, Backing, FilePlan, GgufModel, Metadata, OpenOptions, Value, Writer};
use reference::Tokenizer;

/// Vocabularies with expected ids in the pinned sources.
const WITH_EXPECTED_IDS: usize = 15;

fn vocabularies() -> Option<Vec<PathBuf>> {
    let models = oracle::reference_sources()?.join("models");
    let mut paths: Vec<PathBuf> = std::fs::read_dir(models)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "gguf"))
        .collect();
    paths.sort();
    Some(paths)
}

fn metadata(path: &Path) -> Metadata {
    let options = OpenOptions::default()
        .backing(Backing::Mapped)
        .allow_missing_data(true);
    GgufModel::open_with(path, options).unwrap().metadata().clone()
}

#[test]
fn ids_equal_those_shipped_with_the_reference() {
    let Some(paths) = vocabularies() else { return };
    let mut checked = 0;
    for path in paths {
        let with = |suffix: &str| PathBuf::from(format!("{}{suffix}", path.display()));
        let (Ok(inputs), Ok(expected)) = (std::fs::read(with(".inp")), std::fs::read_to_string(with(".out")))
        else {
            continue;
        };
        let tokenizer = Tokenizer::from_metadata(&metadata(&path)).unwrap();
        let inputs = String::from_utf8(inputs).unwrap();
        let separator = "\n__ggml_vocab_test__\n";
        let inputs: Vec<&str> = inputs
            .strip_suffix(separator)
            .unwrap_or(&inputs)
            .split(separator)
            .collect();
        let expected: Vec<&str> = expected.lines().collect();
        assert!(
            inputs.len() == expected.len() && expected.len() > 40,
            "{}",
            path.display()
        );
        for (input, expected) in inputs.iter().zip(expected) {
            let ids: Vec<u32> = expected
                .split_whitespace()
                .map(|id| id.parse().unwrap())
                .collect();
            assert_eq!(
                tokenizer.encode(input, false, false),
                ids,
                "{}: {input:?}",
                path.display()
            );
        }
        checked += 1;
    }
    assert_eq!(checked, WITH_EXPECTED_IDS);
}

#[test]
fn generated_text_has_the_ids_of_stock() {
    let Some(paths) = vocabularies() else { return };
    compare(&texts(150), &paths);
}

#[test]
#[ignore = "slow: a stock process for every pre-tokenizer; see the README"]
fn every_pre_tokenizer_splits_like_stock() {
    let Some(paths) = vocabularies() else { return };
    let gpt2 = paths
        .iter()
        .find(|path| path.ends_with("ggml-vocab-gpt-2.gguf"))
        .unwrap();
    let llama = paths
        .iter()
        .find(|path| path.ends_with("ggml-vocab-llama-spm.gguf"))
        .unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (gpt2, llama) = (metadata(gpt2), metadata(llama));
    let pre = "tokenizer.ggml.pre";
    let model = "tokenizer.ggml.model";
    // One name of each family, over one vocabulary; and the other algorithms over the tokens of Llama.
    let mut variants: Vec<(&Metadata, &str, &str)> = [
        "default",
        "minicpm5",
        "llama3",
        "deepseek-llm",
        "deepseek-coder",
        "deepseek-v3",
        "spark2_5",
        "youtu",
        "falcon",
        "gpt-2",
        "jais-2",
        "gemma4",
        "sarvam-moe",
        "starcoder",
        "qwen2",
        "qwen35",
        "glm4",
        "bloom",
        "viking",
        "tekken",
        "exaone-moe",
        "chameleon",
        "gpt-4o",
        "granite-embed-multi-97m",
        "tiny_aya",
        "superbpe",
        "bailingmoe",
        "seed-coder",
        "kimi-k2",
        "ufakzeka",
        "afmoe",
        "laguna",
    ]
    .map(|name| (&gpt2, pre, name))
    .into();
    variants.extend(["t5", "plamo2"].map(|name| (&llama, model, name)));
    variants.push((&gpt2, model, "bert"));
    let mut spaceless = gpt2.clone();
    spaceless.set_in_place(pre, "whitespace");
    variants.push((&spaceless, model, "whitespace"));
    let escaped = with_escaped_bytes(&llama);
    variants.push((&escaped, model, "rwkv"));
    let paths: Vec<PathBuf> = variants
        .into_iter()
        .map(|(base, key, name)| {
            let mut metadata = base.clone();
            metadata.set_in_place(key, name);
            let path = dir.path().join(format!("{key}-{name}.gguf"));
            let plan = FilePlan::new(metadata, []).unwrap();
            Writer::create(&path, &plan).unwrap().finish().unwrap();
            path
        })
        .collect();
    compare(&texts(150), &paths);
}

/// The byte tokens `<0x0A>` written as RWKV escapes them.
fn with_escaped_bytes(metadata: &Metadata) -> Metadata {
    let mut metadata = metadata.clone();
    let key = "tokenizer.ggml.tokens";
    let Some(Value::Array(Array::String(tokens))) = metadata.get_mut(key) else {
        panic!("{key}");
    };
    for token in tokens {
        let text = token.to_string_lossy();
        if let Some(hex) = text.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>')) {
            *token = format!("\\x{}", hex.to_lowercase()).into();
        }
    }
    metadata
}

/// Asserts that every text has the same ids in stock and here.
fn compare(texts: &[Vec<u8>], paths: &[PathBuf]) {
    let Some(python) = oracle::python() else { return };
    let dir = tempfile::tempdir().unwrap();
    let packed: Vec<u8> = texts
        .iter()
        .flat_map(|text| [&(text.len() as u32).to_le_bytes()[..], text].concat())
        .collect();
    let file = dir.path().join("texts");
    std::fs::write(&file, packed).unwrap();
    let args = std::iter::once(&file).chain(paths);
    let stock = python.run("stock_tokens.py", args).unwrap();
    let lines: Vec<&str> = stock.lines().collect();
    assert_eq!(lines.len(), texts.len() * paths.len());
    for (path, lines) in paths.iter().zip(lines.chunks(texts.len())) {
        let tokenizer = Tokenizer::from_metadata(&metadata(path)).unwrap();
        for (text, line) in texts.iter().zip(lines) {
            let stock: Vec<u32> = line.split_whitespace().map(|id| id.parse().unwrap()).collect();
            let ours = tokenizer.encode(text, true, true);
            assert_eq!(
                ours,
                stock,
                "{}: {:?}",
                path.display(),
                String::from_utf8_lossy(text)
            );
        }
    }
}

const SAMPLES: &[&str] = &[
    "I've been 'told he's there, 'RE you sure? We'Ve a'lL",
    "The “lazy” dog’s 12345 tails… 3.14 1234567 ١٢٣٤٥ ９９",
    "def f(x):\n\treturn x**2  # note\r\n\r\n  if a<=b and c!=d:\n        pass\n",
    "Привет, как дела? Нещо на Български",
    "你好，世界！这是一个测试。カタカナとひらがな 안녕하세요 세계",
    "مرحبا بالعالم، كيف حالك؟ नमस्ते दुनिया สวัสดีชาวโลก កាន់តែពិសេស",
    "🚀 (normal) 😶‍🌫️ ✅ 🦙🦙 𝕳𝖊𝖑𝖑𝖔 𐍈 𠮷 e\u{301}a\u{308}o\u{302} ǅ ʰ ª",
    "à la façon naïve Ångström ﬁ ﬂ Ⅷ ½ ² camelCaseWORDSHere HTTPServer",
    "''''''```````\"\"\"\"......!!!!!!?????? =====------- $$$ +++ <<>> ^^^ ~~~ |||",
    "<|endoftext|><s></s> <unk><|im_start|>user\n<|end|> [MASK] <mask>  x",
    "   \n \n\n  \n\n\n \t\t \t\n  \u{a0}\u{2003}\u{3000} \t\u{b}\u{c}\u{85} x\u{200b}\u{feff}",
    "IMGIMGABCZ <sentinel:12> \0\u{1}\u{7f}\u{80}",
];

/// Texts cut from samples, of random code points, and of random bytes.
fn texts(n: usize) -> Vec<Vec<u8>> {
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let blocks = [
        (0x20, 0x7F),
        (0xA0, 0x250),
        (0x300, 0x530),
        (0x590, 0xE80),
        (0x1000, 0x1200),
        (0x2000, 0x2C00),
        (0x3000, 0xA000),
        (0xA000, 0xD800),
        (0xE000, 0x1_0000),
        (0x1_0000, 0x1_2000),
        (0x1_D400, 0x1_FA00),
        (0x2_0000, 0x2_FA20),
        (0xE_0000, 0x11_0000),
    ];
    let mut texts: Vec<Vec<u8>> = SAMPLES.iter().map(|sample| sample.as_bytes().to_vec()).collect();
    while texts.len() < n {
        let mut text = Vec::new();
        for _ in 0..1 + random.below(12) {
            match random.below(4) {
                0 => {
                    let (low, high) = blocks[random.below(blocks.len())];
                    let c = char::from_u32((low + random.below(high - low)) as u32).unwrap();
                    text.extend(c.to_string().bytes());
                }
                1 => {
                    let sample = SAMPLES[random.below(SAMPLES.len())].as_bytes();
                    let start = random.below(sample.len());
                    let end = sample.len().min(start + 1 + random.below(30));
                    text.extend(&sample[start..end]);
                }
                2 => text.extend("ab1 .\n\t'SsTtre,!-é中ةñ９ \r".as_bytes().get(random.below(30))),
                // Lead bytes beyond U+10FFFF make stock fail.
                _ => text.push(random.below(0xF4) as u8),
            }
        }
        texts.push(text);
    }
    texts
}

/// Marsaglia's xorshift: the same texts on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n as u64) as usize
    }
}
