//! Models: any GGUF of a supported architecture, run in f32 on decoded weights, or rounding as llama.cpp does.

mod across;
mod classifier;
mod decoder;
mod dense;
mod designs;
mod embeddings;
mod hyperparameters;
mod makes;
mod residual;
mod sides;
mod staged;

mod bert;
mod bitnet;
mod compressed;
mod connections;
mod deci;
mod deepseek2;
mod deepseek4;
mod dots3note;
mod gemma2;
mod gemma3;
mod gemma3n;
mod gemma4;
mod glm5_next;
mod granite_switch;
mod hrm_text;
mod hy_v4;
mod hybrids;
mod kimi_k3;
mod llama;
mod llama4;
mod mamba;
mod minimax01;
mod mixture_designs;
mod mixtures;
mod modern_bert;
mod plamo2;
mod qwen2moe;
mod qwen3moe;
mod qwen3tts;
mod qwen4exp;
mod rwkv;
mod t5;
mod talkie;
mod wavtokenizer;

use std::collections::HashMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use gguf::{Array, GgufModel, TensorType, Value};

use crate::layers::Input;
use crate::ops::{Matrix, Rounding};
use crate::run::{Run, Tap};
use crate::weights::{Loader, Other, Replaced, TILE_BYTES};
use crate::{Error, Result};

pub(crate) use decoder::{Decoder, Layer, Mlp, Streams};
pub(crate) use deepseek4::latest_layers;
pub use embeddings::{Pooling, Rows};
pub(crate) use gemma4::{FULL, SLIDING, borrowing_layers};
pub(crate) use hyperparameters::{Hyperparameters, rope, rope_settings};
pub(crate) use makes::Makes;
pub use makes::predicts;
pub(crate) use mixtures::weightless;
pub(crate) use qwen3tts::CODES;
pub(crate) use residual::{Ends, Residual};
pub(crate) use sides::Sides;
pub use staged::{Staged, StandIn};

/// Builds an architecture's graph from a file's keys and tensors.
type Build = fn(&Loader<'_>) -> Result<Decoder>;

/// The architectures with graphs of their own: `general.architecture` and what builds its graph. A new one is
/// a file beside this one and a row here, or a row of [`designs::DESIGNS`] or [`mixture_designs::DESIGNS`].
const ARCHITECTURES: &[(&str, Build)] = &[
    ("baichuan", dense::baichuan),
    ("bailingmoe3", hybrids::bailingmoe3),
    ("chameleon", dense::chameleon),
    ("cogvlm", dense::cogvlm),
    ("hrm_text", hrm_text::build),
    ("minimax-01", minimax01::build),
    ("plamo2", plamo2::build),
    ("talkie", talkie::build),
    ("cohere2moe", mixtures::cohere2moe),
    ("jais", dense::jais),
    ("minicpm3", compressed::minicpm3),
    ("plm", compressed::plm),
    ("bert", bert::build),
    ("modern-bert", modern_bert::build),
    ("nomic-bert", bert::nomic),
    ("jina-bert-v2", bert::jina),
    ("bitnet", bitnet::build),
    ("deci", deci::build),
    ("deepseek2", deepseek2::build),
    ("deepseek32", deepseek2::deepseek32),
    ("deepseek4", deepseek4::build),
    ("dots3note", dots3note::build),
    ("glm-dsa", deepseek2::glm_dsa),
    ("glm4", dense::glm4),
    ("glm5-next", glm5_next::build),
    ("hy_v4", hy_v4::build),
    ("kimi-k3", kimi_k3::build),
    ("kimi-linear", hybrids::kimi_linear),
    ("nemotron_h", hybrids::nemotron_h),
    ("nemotron_h_moe", hybrids::nemotron_h),
    ("falcon-h1", hybrids::falcon_h1),
    ("gemma2", gemma2::build),
    ("gemma3", gemma3::build),
    ("gemma3n", gemma3n::build),
    ("gemma4", gemma4::build),
    ("gemma-embedding", gemma3::embedding),
    ("granitehybrid", hybrids::granite),
    ("graniteswitch", granite_switch::build),
    ("jamba", hybrids::jamba),
    ("lfm2", hybrids::lfm2),
    ("lfm2moe", hybrids::lfm2),
    ("llama", llama::build),
    ("llama-embed", llama::build),
    ("mistral3", llama::build),
    ("llama4", llama4::build),
    ("mamba", mamba::build),
    ("mamba2", mamba::build2),
    ("qwen2moe", qwen2moe::build),
    ("qwen3moe", qwen3moe::build),
    ("qwen3vlmoe", qwen3moe::build),
    ("qwen3tts", qwen3tts::build),
    ("qwen35", hybrids::qwen3next),
    ("qwen35moe", hybrids::qwen3next),
    ("rwkv6", rwkv::build6),
    ("rwkv7", rwkv::build7),
    ("rwkv6qwen2", rwkv::build_qwen6),
    ("arwkv7", rwkv::build_hybrid7),
    ("qwen3next", hybrids::qwen3next),
    ("qwen4exp", qwen4exp::build),
    ("t5", t5::build),
    ("t5encoder", t5::encoder),
    ("wavtokenizer-dec", wavtokenizer::build),
];

/// The values of `general.architecture` that [`Model`] can run.
pub fn architectures() -> impl Iterator<Item = &'static str> {
    let dense = designs::DESIGNS.iter().map(|design| design.name);
    let mixtures = mixture_designs::DESIGNS.iter().map(|design| design.name);
    ARCHITECTURES
        .iter()
        .map(|(name, _)| *name)
        .chain(dense)
        .chain(mixtures)
}

/// Whether [`build`] knows an architecture.
pub(crate) fn knows(name: &str) -> bool {
    architectures().any(|known| known == name)
}

/// The graph of a file, or `None` where its architecture has none.
pub(crate) fn build(name: &str, loader: &Loader<'_>) -> Option<Result<Decoder>> {
    let built = graph(name, loader)?;
    let makes = Makes::of(name);
    Some(built.map(|decoder| Decoder { makes, ..decoder }))
}

fn graph(name: &str, loader: &Loader<'_>) -> Option<Result<Decoder>> {
    if let Some((_, build)) = ARCHITECTURES.iter().find(|(known, _)| *known == name) {
        return Some(build(loader));
    }
    if let Some(design) = mixture_designs::DESIGNS.iter().find(|design| design.name == name) {
        return Some(mixtures::build(loader, design));
    }
    let design = designs::DESIGNS.iter().find(|design| design.name == name)?;
    Some(dense::build(loader, design))
}

/// The logits of some positions.
#[derive(Clone, Debug, PartialEq)]
pub struct Logits {
    /// Positions: all windows' requested positions, window after window.
    pub rows: usize,
    /// Entries of the vocabulary.
    pub vocabulary: usize,
    /// `rows * vocabulary` numbers, row after row.
    pub data: Vec<f32>,
}

impl Logits {
    /// The logits of one position.
    pub fn row(&self, row: usize) -> &[f32] {
        &self.data[row * self.vocabulary..][..self.vocabulary]
    }
}

/// Takes logits a range of the vocabulary at a time, so that they never exist all at once.
pub trait LogitsSink {
    /// The logits of entries `vocabulary` of every requested position: rows of `vocabulary.len()` numbers,
    /// in the order of [`Logits`]. Ranges ascend, touch, and end with the vocabulary.
    fn tile(&mut self, vocabulary: Range<usize>, logits: &[f32]);
}

/// Bytes of logits that exist at a time when they are handed out in tiles.
const LOGITS_TILE_BYTES: usize = 16 << 20;

/// A model ready to run. Its weights stay in the file, encoded; each tile of rows is decoded when it
/// is used.
#[derive(Debug)]
pub struct Model {
    gguf: Arc<GgufModel>,
    path: PathBuf,
    decoder: Decoder,
    rounding: Rounding,
    /// Tensors of other files that stand in for the file's.
    replaced: Replaced,
}

impl Model {
    /// A model of this graph.
    pub(crate) fn new(gguf: GgufModel, path: PathBuf, decoder: Decoder) -> Self {
        Self {
            gguf: Arc::new(gguf),
            path,
            decoder,
            rounding: Rounding::None,
            replaced: Replaced::new(),
        }
    }

    /// The same model, rounding more than its weights.
    #[must_use]
    pub fn with_rounding(self, rounding: Rounding) -> Self {
        Self { rounding, ..self }
    }

    /// The same model with some matrices of another model in place of its own: of the same names and shapes, in other
    /// types. Where the model rounds more than its weights, its own are used all the same.
    ///
    /// # Errors
    /// When a model does not have one of these tensors, or has it in another shape.
    pub fn with_tensors_of<'n>(
        mut self,
        other: &Self,
        names: impl IntoIterator<Item = &'n str>,
    ) -> Result<Self> {
        for name in names {
            let both = self.gguf.find(name).zip(other.gguf.find(name));
            let both = both.filter(|&(own, of_other)| {
                let shape = |info: &gguf::TensorInfo| gguf::ggml_shape(&info.shape);
                shape(self.gguf.info(own)) == shape(other.gguf.info(of_other))
                    && quants::can_decode(other.gguf.info(of_other).ty)
            });
            let Some((own, of_other)) = both else {
                return Err(self.error(format!(
                    "tensor '{name}': expected one of this shape in both files, found none"
                )));
            };
            self.replaced
                .insert(own, Other::Tensor(Arc::clone(&other.gguf), of_other));
        }
        Ok(self)
    }

    /// The same model with other blocks in some of its matrices, in types of their own, and other numbers in small
    /// tensors (weights of norms, biases). What is not named is as in the file.
    ///
    /// # Errors
    /// When the model has no such tensor, or blocks or numbers are not as many as it needs.
    pub fn standing_in(&self, blocks: &[StandIn], numbers: &HashMap<String, Vec<f32>>) -> Result<Self> {
        let loader = Loader::new(&self.gguf, &self.path).with_numbers(numbers);
        let name = self.gguf.metadata().architecture();
        let decoder = build(name, &loader).unwrap_or_else(|| {
            Err(loader.error(format!(
                "key 'general.architecture': expected a known one, found {name:?}"
            )))
        })?;
        let mut model = Self {
            gguf: Arc::clone(&self.gguf),
            path: self.path.clone(),
            decoder,
            rounding: self.rounding,
            replaced: self.replaced.clone(),
        };
        for (tensor, ty, blocks) in blocks {
            let index = self.stands_in(tensor, *ty, blocks)?;
            model
                .replaced
                .insert(index, Other::Blocks(*ty, Arc::clone(blocks)));
        }
        Ok(model)
    }

    /// The number of a tensor that these blocks can stand in for.
    fn stands_in(&self, tensor: &str, ty: TensorType, blocks: &[u8]) -> Result<usize> {
        let found = self.gguf.find(tensor);
        let index =
            found.ok_or_else(|| self.error(format!("tensor '{tensor}': expected one, found none")))?;
        let info = self.gguf.info(index);
        let expected = ty.row_bytes(info.row_len()).map(|bytes| bytes * info.rows());
        if expected != Some(blocks.len() as u64) {
            return Err(self.error(format!(
                "tensor '{tensor}' as {ty}: expected {expected:?} bytes, found {}",
                blocks.len()
            )));
        }
        Ok(index)
    }

    /// The file.
    pub fn gguf(&self) -> &GgufModel {
        &self.gguf
    }

    /// Entries of the vocabulary: the length of a row of logits. As in llama.cpp these are the tokenizer's tokens:
    /// rows of the embeddings beyond them are padding, and what they give is no token's probability.
    pub fn vocabulary(&self) -> usize {
        let rows = self.decoder.embedding.matrix.outputs;
        match self.gguf.metadata().get("tokenizer.ggml.tokens") {
            Some(Value::Array(Array::String(tokens))) if !tokens.is_empty() => rows.min(tokens.len()),
            _ => rows,
        }
    }

    /// Rows of the token embeddings, which a well-formed model has as many of as tokens.
    pub fn embedding_rows(&self) -> usize {
        self.decoder.embedding.matrix.outputs
    }

    /// Name of the matrix that makes logits of final states, which may be that of the embeddings; `None` of a model that
    /// predicts no tokens.
    pub fn output_matrix(&self) -> Option<&str> {
        let predicts = self.expect_predictions().is_ok();
        predicts.then_some(self.decoder.head.matrix.name.as_str())
    }

    /// Numbers of a token's final state ([`Self::final_states`]).
    pub fn final_columns(&self) -> usize {
        self.decoder.head.matrix.inputs
    }

    /// Bytes of intermediate results for each token that is run at a time, without logits.
    pub fn bytes_per_token(&self) -> u64 {
        self.decoder.width().saturating_mul(size_of::<f32>()) as u64
    }

    /// Bytes that a run holds whatever its length: tiles of decoded weights and of logits, and what a matrix
    /// product rearranges.
    pub fn bytes_per_run(&self) -> u64 {
        (LOGITS_TILE_BYTES + 4 * TILE_BYTES) as u64
    }

    /// Runs windows of tokens, each from its own beginning, and returns the logits of the positions `wanted`
    /// of every window (cut to the window's length, and in a model with an encoder and a decoder to the positions from
    /// the middle on: those before it are the encoder's). `tap` sees the input of every linear layer; the last
    /// layers run only for the wanted positions.
    ///
    /// # Errors
    /// When a token is not below [`Self::vocabulary`], or weights cannot be read.
    pub fn forward<'a>(
        &'a self,
        windows: &[&[u32]],
        wanted: Range<usize>,
        tap: Option<&'a mut dyn Tap>,
    ) -> Result<Logits> {
        self.expect_predictions()?;
        let (mut run, hidden) = self.hidden(&alike(windows, &wanted), tap)?;
        run.tap(&self.decoder.head.matrix.name, None, &hidden)?;
        let range = 0..self.vocabulary();
        let logits = self.decoder.logits(&mut run, &mut Input::new(&hidden), range)?;
        let Matrix { rows, cols, data } = logits;
        Ok(Logits {
            rows,
            vocabulary: cols,
            data,
        })
    }

    /// [`Self::forward`], handing out logits a range of the vocabulary at a time.
    ///
    /// # Errors
    /// As [`Self::forward`].
    pub fn forward_tiles<'a>(
        &'a self,
        windows: &[&[u32]],
        wanted: Range<usize>,
        tap: Option<&'a mut dyn Tap>,
        sink: &mut dyn LogitsSink,
    ) -> Result<()> {
        self.tiles(&alike(windows, &wanted), tap, sink)
    }

    /// Runs windows of tokens, each from its own beginning, for what `tap` sees: the input of every linear layer at
    /// every position, that of the output matrix included. No logits are computed.
    ///
    /// # Errors
    /// As [`Self::forward`].
    pub fn observe<'a>(&'a self, windows: &[&[u32]], tap: &'a mut dyn Tap) -> Result<()> {
        let (mut run, hidden) = self.hidden(&alike(windows, &(0..usize::MAX)), Some(tap))?;
        self.observe_output(&mut run, &hidden)
    }

    /// Logits of sequences that each have their own positions wanted, a range of the vocabulary at a time.
    pub(crate) fn forward_each(
        &self,
        sequences: &[(&[u32], Range<usize>)],
        sink: &mut dyn LogitsSink,
    ) -> Result<()> {
        if self.decoder.sides.is_some() {
            return Err(self.error(
                "tasks: expected a model that reads one text, found one with an encoder and a decoder, of which perplexity, \
                 KL divergence and importance are measured"
                    .to_owned(),
            ));
        }
        self.tiles(sequences, None, sink)
    }

    /// Checks that a position of windows of so many tokens has logits.
    ///
    /// # Errors
    /// A position that a model with an encoder and a decoder reads with its encoder.
    pub(crate) fn expect_predicting(&self, position: usize, window: usize) -> Result<()> {
        let first = Sides::first_predicting(window);
        match self.decoder.sides {
            Some(_) if position < first => Err(self.error(format!(
                "predictions in windows of {window} tokens: expected them from position {first} on, as the encoder reads what \
                 is before it, found them wanted from {position} on"
            ))),
            _ => Ok(()),
        }
    }

    /// Shows the input of the output matrix, in a model that has one.
    fn observe_output(&self, run: &mut Run<'_>, states: &Matrix) -> Result<()> {
        match self.decoder.makes {
            Makes::Embeddings => Ok(()),
            Makes::Predictions | Makes::Sound => run.tap(&self.decoder.head.matrix.name, None, states),
        }
    }

    /// Checks that the model predicts tokens: without predictions there are no logits, and neither perplexity nor KL
    /// divergence.
    ///
    /// # Errors
    /// An encoder of texts, or a decoder of sound; the message says what there is of it.
    pub fn expect_predictions(&self) -> Result<()> {
        let architecture = self.gguf.metadata().architecture();
        let found = match self.decoder.makes {
            Makes::Predictions => return Ok(()),
            Makes::Embeddings => format!(
                "an encoder alone ({architecture}), of which embeddings can be made and importance collected"
            ),
            Makes::Sound => format!(
                "a decoder of sound ({architecture}), which makes a row of a spectrum of each code (an embedding for each \
                 token)"
            ),
        };
        Err(self.error(format!(
            "predictions of tokens, which perplexity and KL divergence are of: expected a model that has some, found {found}"
        )))
    }

    /// Checks that the model can predict these tokens.
    ///
    /// # Errors
    /// As [`Self::expect_predictions`], and of a token that is never predicted.
    pub(crate) fn expect_predicted(&self, tokens: impl IntoIterator<Item = u32>) -> Result<()> {
        self.expect_predictions()?;
        let muted = &self.decoder.muted;
        let mut tokens = tokens.into_iter();
        match tokens.find(|&token| muted.contains(&(token as usize))) {
            None => Ok(()),
            Some(token) => Err(self.error(format!(
                "predictions of a text's tokens: expected tokens that the model predicts, of which {} to {} are none, found \
                 {token}",
                muted.start,
                muted.end.saturating_sub(1)
            ))),
        }
    }

    fn tiles<'a>(
        &'a self,
        sequences: &[(&[u32], Range<usize>)],
        tap: Option<&'a mut dyn Tap>,
        sink: &mut dyn LogitsSink,
    ) -> Result<()> {
        self.expect_predictions()?;
        let (mut run, hidden) = self.hidden(sequences, tap)?;
        if hidden.rows == 0 {
            return Ok(());
        }
        run.tap(&self.decoder.head.matrix.name, None, &hidden)?;
        self.hand_out(&mut run, &hidden, sink)
    }

    /// Hands out the logits of these final states, a range of the vocabulary at a time.
    fn hand_out(&self, run: &mut Run<'_>, hidden: &Matrix, sink: &mut dyn LogitsSink) -> Result<()> {
        if hidden.rows == 0 {
            return Ok(());
        }
        let width = (LOGITS_TILE_BYTES / size_of::<f32>() / hidden.rows).max(256);
        let mut input = Input::new(hidden);
        for first in (0..self.vocabulary()).step_by(width) {
            let range = first..self.vocabulary().min(first + width);
            let logits = self.decoder.logits(run, &mut input, range.clone())?;
            sink.tile(range, &logits.data);
            run.scratch.give(logits);
        }
        Ok(())
    }

    /// An error about this model.
    pub(crate) fn error(&self, message: String) -> Error {
        Error::Model {
            path: self.path.clone(),
            message,
        }
    }

    /// The final hidden states of the wanted positions.
    fn hidden<'a>(
        &'a self,
        sequences: &[(&[u32], Range<usize>)],
        tap: Option<&'a mut dyn Tap>,
    ) -> Result<(Run<'a>, Matrix)> {
        let mut run = self.begin(sequences, tap)?;
        let hidden = self.decoder.forward(&mut run)?;
        Ok((run, hidden))
    }

    /// The graph.
    pub(crate) fn decoder(&self) -> &Decoder {
        &self.decoder
    }

    /// A run of the rows of these sequences, the encoder's first in a model that has one.
    fn rows<'a>(
        &'a self,
        sequences: &[(&[u32], Range<usize>)],
        tap: Option<&'a mut dyn Tap>,
    ) -> Result<Run<'a>> {
        let Some(sides) = &self.decoder.sides else {
            return Ok(Run::new(&self.gguf, sequences, tap));
        };
        let Some(start) = sides.start else {
            let name = self.gguf.metadata().architecture();
            return Err(self.error(format!(
                "key '{name}.decoder_start_token_id': expected the token that the decoder begins with, found none"
            )));
        };
        let (encoded, decoded) = sides.divide(start, sequences);
        let mut run = Run::new(&self.gguf, &[], tap);
        run.other.rows = sides::rows(&encoded);
        run.exchange_rows();
        run.other.rows = sides::rows(&decoded);
        Ok(run)
    }

    /// A run of these sequences, before it has begun.
    pub(crate) fn begin<'a>(
        &'a self,
        sequences: &[(&[u32], Range<usize>)],
        tap: Option<&'a mut dyn Tap>,
    ) -> Result<Run<'a>> {
        let mut run = self.rows(sequences, tap)?;
        run.rounding = self.rounding;
        run.replaced = Some(&self.replaced).filter(|replaced| !replaced.is_empty());
        let vocabulary = self.vocabulary();
        let mut tokens = run.tokens.iter().chain(&run.other.rows.tokens);
        if let Some(token) = tokens.find(|&&t| t as usize >= vocabulary) {
            return Err(self.error(format!(
                "expected tokens below {vocabulary}, the size of the vocabulary, found {token}"
            )));
        }
        if let Some(switch) = &self.decoder.switch {
            switch.choose(&mut run);
        }
        let longest = run.windows.iter().map(|w| w.len()).max().unwrap_or(0);
        if let Some(limit) = self.decoder.longest_window().filter(|&n| longest > n) {
            return Err(self.error(format!(
                "expected windows of at most {limit} tokens, the model's positions, found {longest}"
            )));
        }
        Ok(run)
    }
}

/// Windows of which the same positions are wanted.
fn alike<'a>(windows: &[&'a [u32]], wanted: &Range<usize>) -> Vec<(&'a [u32], Range<usize>)> {
    windows.iter().map(|window| (*window, wanted.clone())).collect()
}
