//! The names of `tokenizer.ggml.pre` and what each implies.

/// Pre-tokenizers that cut text alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    Default,
    Gpt2,
    Starcoder,
    Falcon,
    Llama3,
    Qwen2,
    Qwen35,
    Laguna,
    Jais2,
    UfakZeka,
    SeedCoder,
    BailingMoe,
    ExaoneMoe,
    MiniCpm5,
    Tekken,
    Gpt4o,
    GraniteEmbedding,
    TinyAya,
    Youtu,
    DeepSeekLlm,
    DeepSeekCoder,
    DeepSeek3,
    Spark,
    Afmoe,
    Bloom,
    Viking,
    Chameleon,
    KimiK2,
    SuperBpe,
    Gemma4,
    SarvamMoe,
    Whitespace,
}

/// Settings of a pre-tokenizer's name, before the other keys are read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Defaults {
    pub(crate) family: Family,
    /// A whole word that is a token is not built from merges.
    pub(crate) ignore_merges: bool,
    pub(crate) add_bos: bool,
    pub(crate) add_sep: bool,
    /// Detokenizing removes spaces before punctuation.
    pub(crate) clean_spaces: bool,
    /// Spaces become U+2581 before merging, and words are raw UTF-8.
    pub(crate) escape_spaces: bool,
    /// There is no BOS token unless a key names one.
    pub(crate) no_bos: bool,
    /// Words are spelled in GPT-2's stand-ins for bytes.
    pub(crate) byte_encode: bool,
}

const fn base(family: Family) -> Defaults {
    Defaults {
        family,
        ignore_merges: false,
        add_bos: false,
        add_sep: false,
        clean_spaces: true,
        escape_spaces: false,
        no_bos: false,
        byte_encode: true,
    }
}

const fn unclean(family: Family) -> Defaults {
    Defaults {
        clean_spaces: false,
        ..base(family)
    }
}

impl Defaults {
    const fn ignoring_merges(mut self) -> Self {
        self.ignore_merges = true;
        self
    }

    const fn adding_bos(mut self) -> Self {
        self.add_bos = true;
        self
    }

    const fn adding_sep(mut self) -> Self {
        self.add_sep = true;
        self
    }

    const fn without_bos(mut self) -> Self {
        self.no_bos = true;
        self
    }

    /// Spaces are escaped, and words are not spelled in stand-ins.
    const fn escaping_spaces(mut self) -> Self {
        self.escape_spaces = true;
        self.byte_encode = false;
        self
    }
}

/// Every name, with those that mean the same.
static NAMES: &[(&[&str], Defaults)] = {
    use Family as F;
    &[
        (&["", "default"], base(F::Default)),
        (
            &[
                "llama3",
                "llama-v3",
                "llama-bpe",
                "falcon3",
                "falcon-h1",
                "pixtral",
                "midm-2.0",
                "lfm2",
                "jina-v5-nano",
            ],
            base(F::Llama3).ignoring_merges().adding_bos(),
        ),
        (&["dbrx", "smaug-bpe"], base(F::Llama3)),
        (&["chatglm-bpe"], base(F::Llama3).without_bos()),
        (&["glm4", "glm5"], base(F::Llama3).without_bos().ignoring_merges()),
        (&["minicpm5"], base(F::MiniCpm5).ignoring_merges()),
        (&["deepseek-llm"], unclean(F::DeepSeekLlm)),
        (&["deepseek-coder"], unclean(F::DeepSeekCoder)),
        (
            &["deepseek-v3", "hunyuan-dense", "joyai-llm", "hy_v4"],
            unclean(F::DeepSeek3),
        ),
        (&["spark2_5"], unclean(F::Spark)),
        (&["youtu"], unclean(F::Youtu).ignoring_merges()),
        (&["falcon"], base(F::Falcon)),
        (
            &[
                "mpt",
                "olmo",
                "jais",
                "gpt-2",
                "phi-2",
                "jina-es",
                "jina-de",
                "gigachat",
                "jina-v2-es",
                "jina-v2-de",
                "a.x-4.0",
                "mellum",
                "modern-bert",
                "exaone4",
            ],
            base(F::Gpt2),
        ),
        (&["trillion", "granite-docling"], unclean(F::Gpt2)),
        (
            &["jina-v1-en", "jina-v2-code", "roberta-bpe"],
            base(F::Gpt2).adding_sep(),
        ),
        (&["jais-2"], base(F::Jais2)),
        (
            &["gemma4", "granite-embed-multi-311m"],
            base(F::Gemma4).escaping_spaces(),
        ),
        (&["sarvam-moe"], unclean(F::SarvamMoe).escaping_spaces()),
        (
            &["whitespace"],
            Defaults {
                byte_encode: false,
                ..base(F::Whitespace)
            },
        ),
        (
            &[
                "starcoder",
                "refact",
                "codeshell",
                "exaone",
                "minerva-7b",
                "mellum2",
            ],
            base(F::Starcoder),
        ),
        (&["command-r", "smollm"], unclean(F::Starcoder)),
        (
            &[
                "qwen2",
                "deepseek-r1-qwen",
                "kormo",
                "f2llmv2",
                "hunyuan",
                "grok-2",
                "solar-open",
            ],
            unclean(F::Qwen2),
        ),
        (&["stablelm2", "megrez"], base(F::Qwen2)),
        (&["qwen35"], unclean(F::Qwen35)),
        (&["poro-chat"], unclean(F::Bloom)),
        (&["bloom", "gpt3-finnish"], base(F::Bloom)),
        (&["viking"], unclean(F::Viking)),
        (&["tekken"], unclean(F::Tekken).ignoring_merges().adding_bos()),
        (&["exaone-moe"], base(F::ExaoneMoe)),
        (&["chameleon"], unclean(F::Chameleon).adding_bos()),
        (
            &["gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"],
            unclean(F::Gpt4o),
        ),
        (
            &["granite-embed-multi-97m"],
            unclean(F::GraniteEmbedding).ignoring_merges(),
        ),
        (&["tiny_aya", "cohere2moe"], unclean(F::TinyAya)),
        (&["superbpe"], unclean(F::SuperBpe)),
        (
            &["bailingmoe", "bailingmoe2", "llada-moe"],
            unclean(F::BailingMoe),
        ),
        (&["seed-coder"], unclean(F::SeedCoder)),
        (&["kimi-k2"], unclean(F::KimiK2)),
        (&["ufakzeka"], unclean(F::UfakZeka)),
        (&["afmoe"], unclean(F::Afmoe)),
        (&["laguna"], unclean(F::Laguna)),
    ]
};

/// The defaults of a name; `None` for an unknown one.
pub(crate) fn defaults(name: &str) -> Option<Defaults> {
    NAMES
        .iter()
        .find(|(names, _)| names.contains(&name))
        .map(|(_, defaults)| *defaults)
}

/// The names that `tokenizer.ggml.pre` may have.
pub fn pre_tokenizers() -> impl Iterator<Item = &'static str> {
    let all = NAMES.iter().flat_map(|(names, _)| names.iter().copied());
    all.filter(|name| !name.is_empty())
}
