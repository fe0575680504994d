//! The texts of a run, read and cut into tokens before anything else is done.

use std::path::Path;

use anyhow::{Context as _, ensure};
use convert::digest::{Kind, of_bytes};
use convert::importance::last_component;
use convert::source::Source;
use demo::{CALIBRATION_TEXT, EVALUATION_TEXT};
use publish::chat::Template;
use publish::record;
use reference::PerplexityOptions;
use reference::calibration::Calibration;
use reference::tokenizer::Tokenizer;

use super::Making;
use super::suite::Suite;

/// Name of the bundled calibration text in importance matrices.
const BUNDLED_CALIBRATION: &str = "bundled calibration text";

/// Name of the bundled evaluation text.
const BUNDLED_EVALUATION: &str = "bundled text";

/// Name of the calibration text, as an importance matrix of it records it.
pub(super) fn calibration_name(args: &Making) -> String {
    let file = args.calibration.as_ref();
    file.map_or_else(|| BUNDLED_CALIBRATION.to_owned(), |path| last_component(path))
}

/// A text.
pub(super) struct Text {
    /// Its path, or the name of a bundled one.
    pub(super) name: String,
    /// Its tokens.
    pub(super) tokens: Vec<u32>,
    /// Record of it.
    pub(super) record: record::Text,
}

impl Text {
    /// A file's text, or else the bundled one.
    fn read(
        file: Option<&Path>,
        bundled: &str,
        bundled_name: &str,
        tokenizer: &Tokenizer,
    ) -> anyhow::Result<Self> {
        let Some(path) = file else {
            return Ok(Self::new(bundled_name, bundled_name, true, bundled, tokenizer));
        };
        let text = std::fs::read_to_string(path).with_context(|| {
            let shown = path.display();
            match path.exists() {
                true => shown.to_string(),
                false => {
                    format!("{shown}: a text is expected there (without one named, {bundled_name} is used)")
                }
            }
        })?;
        let last = path.file_name().unwrap_or_default().to_string_lossy();
        Ok(Self::new(
            &path.display().to_string(),
            &last,
            false,
            &text,
            tokenizer,
        ))
    }

    fn new(name: &str, last: &str, bundled: bool, text: &str, tokenizer: &Tokenizer) -> Self {
        let tokens = tokenizer.encode(text, true, false);
        Self {
            name: name.to_owned(),
            record: record::Text {
                name: last.to_owned(),
                bundled,
                size: text.len() as u64,
                sha256: of_bytes(Kind::Sha256, text.as_bytes()),
                tokens: tokens.len(),
            },
            tokens,
        }
    }
}

/// The texts of the evaluation as one sequence of windows.
pub(super) struct EvaluationTexts {
    /// Record of each.
    pub(super) texts: Vec<record::EvaluationText>,
    /// Their path, for messages.
    pub(super) name: String,
    /// Tokens of all.
    pub(super) tokens: Vec<u32>,
    /// Windows of all.
    pub(super) chunks: usize,
}

impl EvaluationTexts {
    /// The texts of a suite, each cut into windows by itself.
    fn suite(
        suite: &Suite,
        source: &dyn Source,
        tokenizer: &Tokenizer,
        options: &PerplexityOptions,
    ) -> anyhow::Result<Self> {
        let mut whole = Self {
            texts: Vec::new(),
            name: suite.to_string(),
            tokens: Vec::new(),
            chunks: 0,
        };
        ensure!(
            options.context > 2,
            "a context of {} tokens leaves none to score",
            options.context
        );
        for member in suite.members(Template::of(source.metadata()).as_ref())? {
            // A template writes its special tokens itself.
            let tokens = tokenizer.encode(&member.text, !member.chats, member.chats);
            let available = tokens.len() / options.context;
            let chunks = options.chunks.map_or(available, |n| n.min(available));
            ensure!(
                chunks > 0,
                "{}: expected at least a window of {} tokens, found {}",
                member.shown,
                options.context,
                tokens.len()
            );
            whole.texts.push(record::EvaluationText {
                text: record::Text {
                    tokens: tokens.len(),
                    ..member.record
                },
                domain: Some(member.domain),
                first_chunk: whole.chunks,
                chunks,
            });
            whole.tokens.extend(&tokens[..chunks * options.context]);
            whole.chunks += chunks;
        }
        ensure!(
            whole.chunks > 1,
            "{suite}: expected at least two windows of {} tokens, found one",
            options.context
        );
        Ok(whole)
    }

    /// One text, which is long enough.
    fn one(text: Text, options: &PerplexityOptions) -> anyhow::Result<Self> {
        options.check(&text.tokens).context(text.name.clone())?;
        let available = text.tokens.len() / options.context;
        let chunks = options.chunks.map_or(available, |n| n.min(available));
        Ok(Self {
            texts: vec![record::EvaluationText {
                text: text.record,
                domain: None,
                first_chunk: 0,
                chunks,
            }],
            name: text.name,
            tokens: text.tokens,
            chunks,
        })
    }
}

/// The texts of a run, as far as they are needed.
pub(super) struct Texts {
    pub(super) evaluation: Option<EvaluationTexts>,
    pub(super) calibration: Option<Text>,
    /// Replacement of the first token of each window.
    pub(super) bos: Option<u32>,
}

impl Texts {
    /// Reads them, and checks that they are long enough.
    pub(super) fn read(
        source: &dyn Source,
        args: &Making,
        evaluate: bool,
        calibrate: bool,
    ) -> anyhow::Result<Self> {
        if !evaluate && !calibrate {
            return Ok(Self {
                evaluation: None,
                calibration: None,
                bos: None,
            });
        }
        let tokenizer = Tokenizer::from_metadata(source.metadata())?;
        let bos = tokenizer.bos().filter(|_| tokenizer.add_bos());
        let options = options(args, bos);
        let evaluation = evaluate
            .then(|| {
                if let Some(suite) = &args.suite {
                    return EvaluationTexts::suite(suite, source, &tokenizer, &options);
                }
                let text = Text::read(
                    args.text.as_deref(),
                    EVALUATION_TEXT,
                    BUNDLED_EVALUATION,
                    &tokenizer,
                )?;
                EvaluationTexts::one(text, &options)
            })
            .transpose()?;
        let calibration = calibrate
            .then(|| {
                let file = args.calibration.as_deref();
                let text = Text::read(file, CALIBRATION_TEXT, BUNDLED_CALIBRATION, &tokenizer)?;
                calibration(args, bos)
                    .text(&text.tokens)
                    .context(text.name.clone())?;
                anyhow::Ok(text)
            })
            .transpose()?;
        Ok(Self {
            evaluation,
            calibration,
            bos,
        })
    }
}

impl Texts {
    /// Name of what is evaluated on.
    pub(super) fn evaluation_name(&self) -> String {
        self.evaluation
            .as_ref()
            .map_or_else(String::new, |texts| texts.name.clone())
    }
}

/// How the evaluation cuts its text.
pub(super) fn options(args: &Making, bos: Option<u32>) -> PerplexityOptions {
    PerplexityOptions::default()
        .context(args.ctx_size)
        .chunks(args.chunks.most())
        .bos(bos)
        .max_memory(args.memory.bytes())
}

/// How an importance matrix is collected.
pub(super) fn calibration(args: &Making, bos: Option<u32>) -> Calibration {
    let mut calibration = Calibration::new(args.calibration_ctx);
    calibration.bos = bos;
    calibration.chunks = args.calibration_chunks.most();
    calibration
}
