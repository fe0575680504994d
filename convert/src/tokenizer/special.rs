//! Special tokens: their ids, whether they are added, the merges and the chat template that go with
//! them. Sources and their order are those of llama.cpp's converter: `tokenizer.json`,
//! `tokenizer_config.json`, `config.json`, `merges.txt`.

use gguf::{Metadata, Value};
use indexmap::IndexMap;
use serde_json::{Map, Value as Json};

use super::chat_template;
use super::files::{MAX_VOCAB_BYTES, Merge, VocabFiles, text_optional};
use crate::{Error, Result};

/// The kinds of special tokens that are looked for by default.
const DEFAULT_TYPES: [&str; 7] = ["bos", "eos", "unk", "sep", "pad", "cls", "mask"];

/// Special tokens of a directory.
#[derive(Debug, Default)]
pub(super) struct SpecialVocab {
    pub(super) merges: Vec<String>,
    ids: IndexMap<String, u32>,
    add: IndexMap<String, bool>,
    chat_template: Option<Json>,
    lowercase: Option<bool>,
    strip_accents: Option<bool>,
    types: Vec<String>,
    n_vocab: Option<usize>,
    pub(super) warnings: Vec<String>,
}

impl SpecialVocab {
    /// Reads everything. `types` replaces the default kinds; ids from `n_vocab` on are left out.
    pub(super) fn read(
        files: &VocabFiles,
        load_merges: bool,
        types: Option<&[&str]>,
        n_vocab: Option<usize>,
    ) -> Result<Self> {
        let mut special = Self {
            types: types
                .unwrap_or(&DEFAULT_TYPES)
                .iter()
                .map(|&t| t.to_owned())
                .collect(),
            n_vocab,
            ..Self::default()
        };
        special.read_tokenizer_files(files, load_merges)?;
        special.read_config(files)?;
        if load_merges && special.merges.is_empty() {
            special.merges_txt(files)?;
        }
        Ok(special)
    }

    /// Takes `id` for a kind, unless one is known already or it is out of range.
    pub(super) fn set_id(&mut self, kind: &str, id: u64) {
        match u32::try_from(id) {
            Ok(small) if self.n_vocab.is_none_or(|n| (small as usize) < n) => {
                self.ids.entry(kind.to_owned()).or_insert(small);
            }
            _ => self
                .warnings
                .push(format!("{kind} token id {id} is out of range and is left out")),
        }
    }

    /// Takes `id` for a kind, whatever is known already.
    pub(super) fn replace_id(&mut self, kind: &str, id: u32) {
        self.ids.insert(kind.to_owned(), id);
    }

    /// Takes a chat template where the directory has none.
    pub(super) fn set_default_template(&mut self, template: &str) {
        self.chat_template.get_or_insert_with(|| template.into());
    }

    /// Whether any special token's id is known.
    pub(super) fn has_ids(&self) -> bool {
        !self.ids.is_empty()
    }

    fn set_json_id(&mut self, files: &VocabFiles, kind: &str, id: Option<&Json>) -> Result<()> {
        match id {
            Some(Json::Number(number)) => {
                if let Some(id) = number.as_u64() {
                    self.set_id(kind, id);
                } else if number.as_i64().is_some() {
                    return Err(Error::input(
                        &files.dir,
                        format!("{kind} token id: expected one that is not negative, found {number}"),
                    ));
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn read_tokenizer_files(&mut self, files: &VocabFiles, load_merges: bool) -> Result<()> {
        // The post-processor changes some of these entries before they are looked up.
        let mut config = files.tokenizer_config.as_ref().and_then(Json::as_object).cloned();
        if let Some(tokenizer) = files.tokenizer_json() {
            if load_merges && let Some(merges) = &tokenizer.model.merges {
                self.merges = merges.iter().map(Merge::to_line).collect();
            }
            if let Some(normalizer) = &tokenizer.normalizer {
                self.normalizer(normalizer);
            }
            PostProcessor::new(&mut config).read(tokenizer.post_processor.as_ref(), self);
        }
        let Some(config) = config else { return Ok(()) };
        self.chat_template = chat_template::find(files, &mut self.warnings)?;
        let added = files
            .tokenizer_json()
            .and_then(|t| t.added_tokens.as_deref())
            .unwrap_or_default();
        for kind in self.types.clone() {
            if let Some(add) = config.get(&format!("add_{kind}_token")).and_then(Json::as_bool) {
                let known = *self.add.entry(kind.clone()).or_insert(add);
                if known != add {
                    self.warnings.push(format!(
                        "add_{kind}_token is {add} in tokenizer_config.json and {known} in \
                         tokenizer.json's post-processor; the latter is taken"
                    ));
                }
            }
            let entry = config.get(&format!("{kind}_token"));
            let Some(content) = entry.and_then(token_content) else {
                continue;
            };
            let id = added
                .iter()
                .find(|token| token.get("content").and_then(Json::as_str) == Some(content))
                .and_then(|token| token.get("id"));
            self.set_json_id(files, &kind, id)?;
        }
        Ok(())
    }

    /// The ids that the stored configuration has.
    fn read_config(&mut self, files: &VocabFiles) -> Result<()> {
        let stored = files.stored.as_ref().unwrap_or(&files.config);
        for kind in self.types.clone() {
            let key = format!("{kind}_token_id");
            let at_root = stored.get(&key).filter(|id| !id.is_null());
            let id = at_root.or_else(|| stored.get("text_config")?.get(&key));
            self.set_json_id(files, &kind, id)?;
        }
        Ok(())
    }

    /// Lower-casing and accent-stripping, wherever a normalizer says so. JSON's own depth limit
    /// bounds the nesting.
    fn normalizer(&mut self, normalizer: &Json) {
        let mut pending = vec![normalizer];
        while let Some(normalizer) = pending.pop() {
            match normalizer.get("type").and_then(Json::as_str) {
                Some("Lowercase") => self.lowercase = Some(true),
                Some("StripAccents") => self.strip_accents = Some(true),
                Some("BertNormalizer") => {
                    if let Some(value) = normalizer.get("lowercase") {
                        self.lowercase = value.as_bool();
                    }
                    if let Some(value) = normalizer.get("strip_accents") {
                        self.strip_accents = value.as_bool();
                    }
                }
                Some("Sequence") => {
                    let list = normalizer.get("normalizers").and_then(Json::as_array);
                    pending.extend(list.into_iter().flatten().rev());
                }
                _ => {}
            }
        }
    }

    fn merges_txt(&mut self, files: &VocabFiles) -> Result<()> {
        let Some(text) = text_optional(&files.dir.join("merges.txt"), MAX_VOCAB_BYTES)? else {
            return Ok(());
        };
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || (number == 0 && line.starts_with('#')) {
                continue;
            }
            let parts: Vec<&str> = line.split_whitespace().collect();
            if let [left, right] = parts[..] {
                self.merges.push(format!("{left} {right}"));
            } else {
                self.warnings
                    .push(format!("merges.txt line {}: not two parts, ignored", number + 1));
            }
        }
        Ok(())
    }

    /// Writes merges, ids, flags, template and normalizer flags, in this order.
    pub(super) fn write(&self, metadata: &mut Metadata) {
        if !self.merges.is_empty() {
            metadata.set_in_place("tokenizer.ggml.merges", Value::from(self.merges.clone()));
        }
        for (kind, id) in &self.ids {
            if let Some(name) = id_key(kind) {
                metadata.set_in_place(format!("tokenizer.ggml.{name}_token_id"), *id);
            }
        }
        for (kind, add) in &self.add {
            if matches!(kind.as_str(), "bos" | "eos" | "sep") {
                metadata.set_in_place(format!("tokenizer.ggml.add_{kind}_token"), *add);
            }
        }
        if let Some(template) = &self.chat_template {
            chat_template::write(metadata, template);
        }
        if let Some(lowercase) = self.lowercase {
            metadata.set_in_place("tokenizer.ggml.normalizer.lowercase", lowercase);
        }
        if let Some(strip) = self.strip_accents {
            metadata.set_in_place("tokenizer.ggml.normalizer.strip_accents", strip);
        }
    }
}

/// The name in a key of the special tokens whose ids GGUF stores.
pub(crate) fn id_key(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "bos" => "bos",
        "eos" => "eos",
        "unk" => "unknown",
        // The format's own spelling.
        "sep" => "seperator",
        "pad" => "padding",
        "mask" => "mask",
        "eot" => "eot",
        "eom" => "eom",
        _ => return None,
    })
}

/// The text of a token in `tokenizer_config.json`: itself, or the `content` of an object.
pub(super) fn token_content(entry: &Json) -> Option<&str> {
    entry
        .as_str()
        .or_else(|| entry.get("content").and_then(Json::as_str))
}

/// Whether Python would take a value for true.
fn truthy(value: &Json) -> bool {
    match value {
        Json::Null => false,
        Json::Bool(b) => *b,
        Json::Number(n) => n.as_f64() != Some(0.0),
        Json::String(s) => !s.is_empty(),
        Json::Array(a) => !a.is_empty(),
        Json::Object(o) => !o.is_empty(),
    }
}

/// The entries of `tokenizer_config.json` that a post-processor is compared with, and corrects.
///
/// They are compared as the file holds them: an entry that is an object equals no token text.
struct PostProcessor<'a> {
    config: &'a mut Option<Map<String, Json>>,
    bos: Json,
    cls: Json,
    eos: Json,
    sep: Json,
}

impl<'a> PostProcessor<'a> {
    fn new(config: &'a mut Option<Map<String, Json>>) -> Self {
        let get = |key: &str| {
            let value = config.as_ref().and_then(|c| c.get(key)).cloned();
            value.unwrap_or(Json::Null)
        };
        let mut this = Self {
            bos: get("bos_token"),
            cls: get("cls_token"),
            eos: get("eos_token"),
            sep: get("sep_token"),
            config,
        };
        if !truthy(&this.bos) && truthy(&this.cls) {
            this.bos = this.cls.clone();
            this.set("bos_token", this.bos.clone());
        }
        if !truthy(&this.eos) && truthy(&this.sep) {
            this.eos = this.sep.clone();
            this.set("eos_token", this.eos.clone());
        }
        this
    }

    fn set(&mut self, key: &str, value: Json) {
        if let Some(config) = self.config {
            config.insert(key.to_owned(), value);
        }
    }

    fn read(&mut self, post_processor: Option<&Json>, special: &mut SpecialVocab) {
        let Some(post_processor) = post_processor.filter(|p| truthy(p)) else {
            return;
        };
        let one = std::slice::from_ref(post_processor);
        let list = post_processor.get("processors").and_then(Json::as_array);
        for processor in list.map_or(one, Vec::as_slice) {
            match processor.get("type").and_then(Json::as_str) {
                Some("ByteLevel") => {
                    special.add.entry("bos".into()).or_insert(false);
                    special.add.entry("eos".into()).or_insert(false);
                }
                Some("RobertaProcessing") => self.roberta(processor, special),
                Some("TemplateProcessing") => self.template(processor, special),
                _ => {}
            }
        }
    }

    fn roberta(&mut self, processor: &Json, special: &mut SpecialVocab) {
        for kind in ["bos", "eos", "sep"] {
            special.add.insert(kind.into(), true);
        }
        let first = |key: &str, otherwise: &Json| {
            let entry = processor.get(key).and_then(|pair| pair.get(0));
            entry.unwrap_or(otherwise).clone()
        };
        if self.config.is_some() && !truthy(&self.cls) {
            self.cls = first("cls", &self.bos);
            self.set("cls_token", self.cls.clone());
        }
        if self.config.is_some() && !truthy(&self.sep) {
            self.sep = first("sep", &self.eos);
            self.set("sep_token", self.sep.clone());
        }
    }

    fn template(&mut self, processor: &Json, special: &mut SpecialVocab) {
        let pieces = |key: &str| {
            let list = processor.get(key).and_then(Json::as_array);
            list.map_or(&[][..], Vec::as_slice)
        };
        let single = pieces("single");
        let (mut first, mut last) = (None, None);
        if let [head, .., tail] = single {
            first = special_token(head);
            if let Some(first) = first {
                self.leading(first, special);
            }
            last = special_token(tail);
            if let Some(last) = last {
                self.trailing(last, special);
            }
        }
        self.pair(pieces("pair"), first, last, special);
    }

    fn leading(&mut self, first: &str, special: &mut SpecialVocab) {
        if self.config.is_none() {
            self.bos = first.into();
        } else if self.bos != first && self.cls != first {
            if !truthy(&self.bos) {
                self.bos = first.into();
                self.set("bos_token", first.into());
            }
            if !truthy(&self.cls) {
                self.cls = first.into();
                self.set("cls_token", first.into());
            }
        }
        let known = self.bos == first || self.cls == first;
        special.add.insert("bos".into(), known);
        if !known {
            special
                .warnings
                .push(format!("unknown leading token {first:?} in the post-processor"));
        }
    }

    fn trailing(&mut self, last: &str, special: &mut SpecialVocab) {
        if self.config.is_none() {
            self.eos = last.into();
        } else if self.eos != last {
            // The configured end of sequence becomes the end of turn, or of message.
            let free = ["eot", "eom"]
                .into_iter()
                .find(|kind| !special.types.iter().any(|t| t == kind));
            if let Some(kind) = free {
                special.types.push(kind.into());
                self.set(&format!("{kind}_token"), self.eos.clone());
            } else {
                special.warnings.push(format!(
                    "the end-of-sequence token {} gives way to {last:?} of the post-processor",
                    self.eos
                ));
            }
            self.eos = last.into();
            self.set("eos_token", last.into());
        }
        special.add.insert("eos".into(), self.eos == last);
    }

    /// Whether the template of two sequences puts a separator between them.
    fn pair(&mut self, pair: &[Json], first: Option<&str>, last: Option<&str>, special: &mut SpecialVocab) {
        if pair.is_empty() {
            return;
        }
        let start = usize::from(first.is_some() && special_token(&pair[0]) == first);
        let stop = usize::from(last.is_some() && special_token(&pair[pair.len() - 1]) == last);
        if (first.is_some() && start == 0) || (last.is_some() && stop == 0) {
            special
                .warnings
                .push("the post-processor's template for one sequence and for two do not match".into());
        }
        let Some([a, middle @ .., b]) = pair.get(start..pair.len() - stop) else {
            return;
        };
        if sequence(a) != Some("A") || sequence(b) != Some("B") || middle.is_empty() {
            return;
        }
        let separates =
            |piece: &Json| special_token(piece).is_some_and(|token| self.sep == token || self.eos == token);
        let mut add = separates(&middle[0]) && last.is_none();
        if middle.len() == 2 {
            add |= separates(&middle[1]);
        }
        special.add.insert("sep".into(), add);
        if add && !truthy(&self.sep) {
            self.set("sep_token", self.eos.clone());
        }
    }
}

fn special_token(piece: &Json) -> Option<&str> {
    let id = piece.get("SpecialToken")?.get("id")?.as_str()?;
    (!id.is_empty()).then_some(id)
}

fn sequence(piece: &Json) -> Option<&str> {
    piece.get("Sequence")?.get("id")?.as_str()
}
