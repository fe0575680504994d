//! The steps of a request, done one after the other.

use std::path::Path;

use gguf::{Array, Metadata, Value};
use serde_json::{Map, Value as Json};

use super::files::{self, VocabFiles};
use super::keys::{ADD_SPACE_PREFIX, BOS, CHAT_TEMPLATE, EOS, EOT, TOKEN_TYPE, TOKEN_TYPE_COUNT, TOKENS};
use super::kind::VocabKind;
use super::request::{VocabRequest, VocabStep};
use super::settings::Settings;
use super::special::SpecialVocab;
use super::tokens::TokenType;
use super::vocabulary::Vocabulary;
use super::{chat_template, directory, mistral, read, size};
use crate::Result;

/// Reads the vocabulary of the model directory `dir`, whose `config.json` is `config`.
pub fn vocab_metadata(dir: &Path, config: &Json, request: &VocabRequest) -> Result<Vocabulary> {
    let mut files = directory::read(dir, config)?;
    files.rows = request
        .embeddings
        .map(|rows| usize::try_from(rows).unwrap_or(usize::MAX));
    files.stored.clone_from(&request.stored);
    let (before, reading, after) = request.parts()?;
    let mut making = Making {
        settings: Settings {
            pre_tokenizer: request.pre_tokenizer.as_deref(),
            ..Settings::default()
        },
        files,
        metadata: Metadata::new(),
        kind: None,
    };
    for step in before {
        if *step == VocabStep::ReadMistralAlone && mistral::is_alone(dir) {
            return mistral::read(&making.files, request, false);
        }
        making.step(step)?;
    }
    let VocabStep::Read(kinds) = reading else {
        return mistral::read(&making.files, request, true);
    };
    making.settings.kinds = kinds;
    let metadata = std::mem::take(&mut making.metadata);
    let mut vocabulary = read::read(&making.files, metadata, &making.settings)?;
    size::check(&making.files, &mut vocabulary)?;
    if let Some(count) = making.settings.token_types {
        vocabulary.metadata.set_in_place(TOKEN_TYPE_COUNT, count);
    }
    making.kind = Some(vocabulary.kind);
    making.metadata = vocabulary.metadata;
    for step in after {
        making.step(step)?;
    }
    vocabulary.metadata = making.metadata;
    size::drop_outside_ids(&mut vocabulary);
    Ok(vocabulary)
}

/// A vocabulary between two steps.
struct Making<'a> {
    files: VocabFiles,
    settings: Settings<'a>,
    /// The keys so far.
    metadata: Metadata,
    /// The way in which the tokens were read, once they are.
    kind: Option<VocabKind>,
}

impl Making<'_> {
    fn step(&mut self, step: &VocabStep) -> Result<()> {
        match step {
            VocabStep::Multiple(multiple) => self.files.multiple = *multiple,
            VocabStep::IgnoredSize(key) => self.files.ignored.push(key),
            VocabStep::AddedAsMarked => self.settings.added_as_marked = true,
            VocabStep::Needed(texts) => self.settings.needed.extend(*texts),
            VocabStep::TokenTypes(count) => self.settings.token_types = Some(*count),
            // The caller does these.
            VocabStep::Read(_) | VocabStep::ReadMistral | VocabStep::ReadMistralAlone => {}
            VocabStep::Flag(name, value) => self.set(format!("tokenizer.ggml.{name}"), *value),
            VocabStep::Id(name, id) => self.set_id(name, *id),
            VocabStep::IdOfText(name, text) => {
                if let Some(id) = self.id_of(text) {
                    self.set_id(name, id);
                }
            }
            VocabStep::Special(types) => self.special(types)?,
            VocabStep::Control(texts) => self.control(texts),
            VocabStep::SpacePrefix(kind, value) => {
                if self.kind == Some(*kind) {
                    self.set(ADD_SPACE_PREFIX, *value);
                }
            }
            VocabStep::ConfiguredSpacePrefix => {
                self.configured_space_prefix();
            }
            VocabStep::ConfiguredSpacePrefixBehindTypes => {
                if self.configured_space_prefix() {
                    self.metadata.move_behind(ADD_SPACE_PREFIX, TOKEN_TYPE);
                }
            }
            VocabStep::EndAmongAdded(text) => self.end_among_added(text),
            VocabStep::BoundsAmongAdded(text) => self.bounds_among_added(text),
            VocabStep::GeneratedEndOfTurn => self.generated_end_of_turn()?,
            VocabStep::ChatTemplate(template) => self.set(CHAT_TEMPLATE, *template),
            VocabStep::ChatTemplateOfFile => {
                if let Some(template) = self.template_file()? {
                    self.set(CHAT_TEMPLATE, template);
                }
            }
            VocabStep::ChatTemplateAlone => {
                let own = self.files.tokenizer_config("chat_template").cloned();
                let template = self.template_file()?.map(Json::from).or(own);
                if let Some(template) = template.filter(|t| *t != "") {
                    chat_template::write(&mut self.metadata, &template);
                }
            }
            VocabStep::WithoutSpecial => self.without_special(),
        }
        Ok(())
    }

    fn set(&mut self, key: impl Into<String>, value: impl Into<Value>) {
        self.metadata.set_in_place(key, value);
    }

    fn set_id(&mut self, name: &str, id: u32) {
        self.set(format!("tokenizer.ggml.{name}_token_id"), id);
    }

    /// The id of the token of this text.
    fn id_of(&self, text: &str) -> Option<u32> {
        let Some(Value::Array(Array::String(tokens))) = self.metadata.get(TOKENS) else {
            return None;
        };
        let id = tokens.iter().position(|token| token.0 == text.as_bytes())?;
        u32::try_from(id).ok()
    }

    /// Whether `tokenizer_config.json` has `add_prefix_space`, which is then taken.
    fn configured_space_prefix(&mut self) -> bool {
        let space = self.files.tokenizer_config("add_prefix_space");
        let Some(space) = space.and_then(Json::as_bool) else {
            return false;
        };
        self.set(ADD_SPACE_PREFIX, space);
        true
    }

    fn end_among_added(&mut self, text: &str) {
        let id = added(&self.files, |token| {
            token["content"] == text && token["special"] == true
        });
        if let Some(id) = id
            && self.metadata.get(EOS).is_some()
        {
            self.set(EOS, id);
        }
    }

    fn bounds_among_added(&mut self, text: &str) {
        if let Some(id) = added(&self.files, |token| token["content"] == text) {
            self.set(BOS, id);
            self.set(EOS, id);
        }
    }

    fn special(&mut self, types: &[(&str, Option<u32>)]) -> Result<()> {
        let names: Vec<&str> = types.iter().map(|&(name, _)| name).collect();
        let mut special = SpecialVocab::read(&self.files, false, Some(&names), None)?;
        for &(name, id) in types {
            if let Some(id) = id {
                special.set_id(name, id.into());
            }
        }
        special.write(&mut self.metadata);
        Ok(())
    }

    fn control(&mut self, texts: &[&str]) {
        let metadata = &mut self.metadata;
        let Some(Value::Array(Array::String(tokens))) = metadata.get(TOKENS) else {
            return;
        };
        let is_control = |token: &gguf::GgufString| texts.iter().any(|text| token.0 == text.as_bytes());
        let ids: Vec<usize> = tokens
            .iter()
            .enumerate()
            .filter_map(|(id, token)| is_control(token).then_some(id))
            .collect();
        if let Some(Value::Array(Array::I32(types))) = metadata.get_mut(TOKEN_TYPE) {
            for id in ids {
                if let Some(kind) = types.get_mut(id) {
                    *kind = TokenType::Control as i32;
                }
            }
        }
    }

    fn generated_end_of_turn(&mut self) -> Result<()> {
        if let Some(config) = files::json_optional(&self.files.dir.join("generation_config.json"))?
            && let Some([first, _, ..]) = config["eos_token_id"].as_array().map(Vec::as_slice)
            && let Some(id) = first.as_u64().and_then(|id| u32::try_from(id).ok())
        {
            self.set(EOT, id);
        }
        Ok(())
    }

    fn without_special(&mut self) {
        let is_special = |key: &str| {
            key.strip_prefix("tokenizer.ggml.").map_or_else(
                || key.starts_with(CHAT_TEMPLATE),
                |name| name.ends_with("_token_id") || (name.starts_with("add_") && name.ends_with("_token")),
            )
        };
        let keys = self.metadata.iter().map(|(key, _)| key);
        let special: Vec<String> = keys.filter(|key| is_special(key)).map(str::to_owned).collect();
        for key in special {
            self.metadata.remove(&key);
        }
    }

    fn template_file(&self) -> Result<Option<String>> {
        files::text_optional(
            &self.files.dir.join("chat_template.jinja"),
            files::MAX_VOCAB_BYTES,
        )
    }
}

/// The id of the first added token of `tokenizer_config.json` that `is_it`.
fn added(files: &VocabFiles, is_it: impl Fn(&Json) -> bool) -> Option<u32> {
    let added: &Map<String, Json> = files.tokenizer_config("added_tokens_decoder")?.as_object()?;
    let (id, _) = added.iter().find(|(_, token)| is_it(token))?;
    id.parse().ok()
}
