//! Vocabularies as the library `mistral-common` reads them: `tekken.json`, whose special tokens come first, and
//! SentencePiece models that carry a version in their name (`tokenizer.model.v3`). Keys and their order are those that
//! llama.cpp's converter writes for these.

mod tekken;
mod version;

use std::path::Path;

use gguf::{GgufString, Metadata, Value};

use super::files::VocabFiles;
use super::keys::{ADD_BOS, BOS, CHAT_TEMPLATE, EOS};
use super::kind::VocabKind;
use super::request::VocabRequest;
use super::sentencepiece::Model;
use super::tiktoken::byte_level;
use super::tokens::{TokenList, TokenType};
use super::vocabulary::{PreTokenizer, Vocabulary};
use crate::{Error, Result};
pub(crate) use tekken::special_id;
use tekken::{FILE as TEKKEN, Tokens};
use version::{Layout, PIECES, Template, VERSIONS};

/// Whether a directory in transformers' layout has no other vocabulary than Tekken's.
pub(super) fn is_alone(dir: &Path) -> bool {
    dir.join(TEKKEN).is_file() && !dir.join("tokenizer.json").is_file()
}

/// Reads the vocabulary of a directory in Mistral's own layout, or one in transformers' that has no other.
pub(super) fn read(files: &VocabFiles, request: &VocabRequest, own_layout: bool) -> Result<Vocabulary> {
    let layout = match (own_layout, request.no_named_template) {
        (false, _) => Layout::Transformers,
        (true, false) => Layout::Own,
        (true, true) => Layout::OwnWithoutName,
    };
    match files.dir.join(TEKKEN).is_file() {
        true => tekken(files, request, layout),
        false => pieces(files, request, layout),
    }
}

/// Ids of the tokens that bound a text, stand for the unknown and fill.
struct Ids {
    begin: u32,
    end: u32,
    unknown: u32,
    padding: u32,
}

/// The vocabulary of `tekken.json`.
fn tekken(files: &VocabFiles, request: &VocabRequest, layout: Layout) -> Result<Vocabulary> {
    let path = files.dir.join(TEKKEN);
    let tokens = Tokens::read(&path)?;
    let ids = Ids {
        begin: tokens.special_id(&path, "<s>")?,
        end: tokens.special_id(&path, "</s>")?,
        unknown: tokens.special_id(&path, "<unk>")?,
        padding: tokens.special_id(&path, "<pad>")?,
    };
    let pre = PreTokenizer::of_file(request.pre_tokenizer.as_deref(), "tekken");
    let merges: Vec<GgufString> = tokens.merges(&path)?.into_iter().map(GgufString::from).collect();
    let mut metadata = Metadata::new();
    metadata.set_in_place("tokenizer.ggml.model", "gpt2");
    metadata.set_in_place("tokenizer.ggml.pre", pre.name.as_str());
    metadata.set_in_place("tokenizer.ggml.merges", Value::from(merges));
    let n_vocab = tokens.specials.len() + tokens.ranked.len();
    let mut types = vec![TokenType::Control; tokens.specials.len()];
    types.resize(n_vocab, TokenType::Normal);
    let mut texts = tokens.specials;
    texts.extend(tokens.ranked.iter().map(|token| byte_level(token)));
    let list = TokenList {
        texts,
        types,
        scores: Some(vec![0.0; n_vocab]),
    };
    let (version, _, template) = VERSIONS[tokens.version];
    let about = (&path, version, template);
    finish(files, request, layout, about, (metadata, ids, list), Some(pre))
}

/// The vocabulary of a SentencePiece model with a version.
fn pieces(files: &VocabFiles, request: &VocabRequest, layout: Layout) -> Result<Vocabulary> {
    let Some((name, version)) = version::pieces_file(&files.dir) else {
        return Err(Error::input(
            &files.dir,
            format!("expected {TEKKEN} or {PIECES}.vN, found neither"),
        ));
    };
    let path = files.dir.join(&name);
    let mut model = Model::read(files, &name)?;
    let ids = model.bounds();
    let need = |what: &str, id: Option<u32>| {
        id.ok_or_else(|| Error::input(&path, format!("expected a piece for {what}, found none")))
    };
    let end = need("the end of a text", ids.end)?;
    let ids = Ids {
        begin: need("the beginning of a text", ids.begin)?,
        end,
        unknown: need("what is unknown", ids.unknown)?,
        padding: ids.padding.unwrap_or(end),
    };
    let n_pieces = model.n_pieces();
    let list = model.take_tokens(n_pieces).list();
    let mut metadata = Metadata::new();
    metadata.set_in_place("tokenizer.ggml.model", "llama");
    let template = VERSIONS.iter().find(|(v, ..)| *v == version);
    let template = template.map_or(Template::Unknown, |(_, pieces, _)| *pieces);
    let about = (&path, version, template);
    finish(files, request, layout, about, (metadata, ids, list), None)
}

/// The steps that both kinds have in common, in the stock converter's order.
fn finish<P: AsRef<Path>>(
    files: &VocabFiles,
    request: &VocabRequest,
    layout: Layout,
    (path, version, template): (P, &str, Template),
    (mut metadata, ids, list): (Metadata, Ids, TokenList),
    pre_tokenizer: Option<PreTokenizer>,
) -> Result<Vocabulary> {
    let path = path.as_ref();
    let n_vocab = list.len();
    if let Some(rows) = files.rows
        && rows != n_vocab
    {
        return Err(Error::input(
            path,
            format!("expected {rows} tokens, one for each row of the token embeddings, found {n_vocab}"),
        ));
    }
    metadata.set_in_place(BOS, ids.begin);
    metadata.set_in_place(EOS, ids.end);
    metadata.set_in_place("tokenizer.ggml.unknown_token_id", ids.unknown);
    metadata.set_in_place("tokenizer.ggml.padding_token_id", ids.padding);
    list.write(&mut metadata);
    if pre_tokenizer.is_some() {
        // Of merges no score is read. The stock converter writes integers.
        metadata.set_in_place("tokenizer.ggml.scores", Value::from(vec![0i32; n_vocab]));
    }
    if let Some(architecture) = request.architecture {
        metadata.set_in_place(format!("{architecture}.vocab_size"), n_vocab as u32);
    }
    metadata.set_in_place(ADD_BOS, true);
    metadata.set_in_place("tokenizer.ggml.add_eos_token", false);
    let mut warnings = Vec::new();
    if let Some(template) = version::chat_template(files, layout, (path, version, template), &mut warnings)? {
        metadata.set_in_place(CHAT_TEMPLATE, template);
    }
    let kind = match pre_tokenizer {
        Some(_) => VocabKind::Tekken,
        None => VocabKind::MistralPieces,
    };
    Ok(Vocabulary {
        pre_tokenizer,
        warnings,
        ..Vocabulary::new(kind, metadata, (n_vocab, n_vocab))
    })
}
