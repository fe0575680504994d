//! `tokenizer.json` as the `transformers` library would load it: the `tokenizers` library's object,
//! with the special tokens of `tokenizer_config.json` and the quirks of the tokenizer's class.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde_json::Value as Json;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::{AddedToken, Tokenizer};

use super::budget;
use super::files::{MAX_TOKENS, SIZE_KEYS, VocabFiles, json_optional};
use super::special::token_content;
use crate::{Error, Result};

/// Special tokens in the order in which missing ones are added.
const SPECIAL_KEYS: [&str; 7] = [
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
];

/// Settings that a tokenizer class brings with it.
struct Class {
    name: &'static str,
    /// Special tokens that the class has where the configuration does not name others.
    defaults: &'static [(&'static str, &'static str)],
    /// With a class that replaces the post-processor: whether it adds a first token by default.
    replaces_post_processor: Option<bool>,
}

const END_OF_TEXT: &str = "<|endoftext|>";

/// The classes with quirks of their own, by the name without `Fast`.
const CLASSES: &[Class] = &[
    Class {
        name: "GPT2Tokenizer",
        defaults: &[
            ("bos_token", END_OF_TEXT),
            ("eos_token", END_OF_TEXT),
            ("unk_token", END_OF_TEXT),
        ],
        replaces_post_processor: None,
    },
    Class {
        name: "Qwen2Tokenizer",
        defaults: &[
            ("eos_token", END_OF_TEXT),
            ("unk_token", END_OF_TEXT),
            ("pad_token", END_OF_TEXT),
        ],
        replaces_post_processor: None,
    },
    Class {
        name: "LlamaTokenizer",
        defaults: &[
            ("bos_token", "<s>"),
            ("eos_token", "</s>"),
            ("unk_token", "<unk>"),
        ],
        replaces_post_processor: Some(true),
    },
    Class {
        name: "CodeLlamaTokenizer",
        defaults: &[
            ("bos_token", "<s>"),
            ("eos_token", "</s>"),
            ("unk_token", "<unk>"),
            ("prefix_token", "▁<PRE>"),
            ("middle_token", "▁<MID>"),
            ("suffix_token", "▁<SUF>"),
            ("eot_token", "▁<EOT>"),
        ],
        replaces_post_processor: Some(true),
    },
    Class {
        name: "GemmaTokenizer",
        defaults: &[
            ("bos_token", "<bos>"),
            ("eos_token", "<eos>"),
            ("unk_token", "<unk>"),
            ("pad_token", "<pad>"),
        ],
        replaces_post_processor: Some(true),
    },
    Class {
        name: "CohereTokenizer",
        defaults: &[
            ("bos_token", "<BOS_TOKEN>"),
            ("eos_token", "<|END_OF_TURN_TOKEN|>"),
            ("unk_token", "<UNK>"),
        ],
        replaces_post_processor: Some(true),
    },
    Class {
        name: "GPTNeoXTokenizer",
        defaults: &[
            ("bos_token", END_OF_TEXT),
            ("eos_token", END_OF_TEXT),
            ("unk_token", END_OF_TEXT),
        ],
        replaces_post_processor: Some(false),
    },
    Class {
        name: "BloomTokenizer",
        defaults: &[
            ("bos_token", "<s>"),
            ("eos_token", "</s>"),
            ("unk_token", "<unk>"),
            ("pad_token", "<pad>"),
        ],
        replaces_post_processor: None,
    },
    Class {
        name: "BertTokenizer",
        defaults: BERT_SPECIALS,
        replaces_post_processor: None,
    },
    Class {
        name: "DistilBertTokenizer",
        defaults: BERT_SPECIALS,
        replaces_post_processor: None,
    },
    Class {
        name: "RobertaTokenizer",
        defaults: ROBERTA_SPECIALS,
        replaces_post_processor: None,
    },
    Class {
        name: "XLMRobertaTokenizer",
        defaults: ROBERTA_SPECIALS,
        replaces_post_processor: None,
    },
];

const BERT_SPECIALS: &[(&str, &str)] = &[
    ("unk_token", "[UNK]"),
    ("sep_token", "[SEP]"),
    ("pad_token", "[PAD]"),
    ("cls_token", "[CLS]"),
    ("mask_token", "[MASK]"),
];

const ROBERTA_SPECIALS: &[(&str, &str)] = &[
    ("bos_token", "<s>"),
    ("eos_token", "</s>"),
    ("unk_token", "<unk>"),
    ("sep_token", "</s>"),
    ("pad_token", "<pad>"),
    ("cls_token", "<s>"),
    ("mask_token", "<mask>"),
];

/// Classes of model types whose directories often name none.
const CLASS_OF_MODEL_TYPE: &[(&str, &str)] = &[
    ("llama", "LlamaTokenizer"),
    ("mistral", "LlamaTokenizer"),
    ("mixtral", "LlamaTokenizer"),
    ("qwen2", "Qwen2Tokenizer"),
    ("qwen2_moe", "Qwen2Tokenizer"),
    ("qwen3", "Qwen2Tokenizer"),
    ("qwen3_moe", "Qwen2Tokenizer"),
    ("gemma", "GemmaTokenizer"),
    ("gemma2", "GemmaTokenizer"),
    ("gemma3", "GemmaTokenizer"),
    ("gemma3_text", "GemmaTokenizer"),
    ("cohere", "CohereTokenizer"),
    ("gpt2", "GPT2Tokenizer"),
    ("gpt_neox", "GPTNeoXTokenizer"),
    ("bloom", "BloomTokenizer"),
    ("bert", "BertTokenizer"),
    ("distilbert", "DistilBertTokenizer"),
    ("roberta", "RobertaTokenizer"),
    ("xlm-roberta", "XLMRobertaTokenizer"),
];

/// Replacements in decoded text when the configuration asks for a clean-up.
const CLEAN_UPS: [(&str, &str); 10] = [
    (" .", "."),
    (" ?", "?"),
    (" !", "!"),
    (" ,", ","),
    (" ' ", "'"),
    (" n't", "n't"),
    (" 'm", "'m"),
    (" 's", "'s"),
    (" 've", "'ve"),
    (" 're", "'re"),
];

/// A loaded tokenizer.
pub(super) struct HfTokenizer {
    tokenizer: Tokenizer,
    /// Texts of all special tokens.
    specials: Vec<String>,
    clean_up: bool,
    /// With a class that replaces the post-processor: the ids before and after a text.
    around: Option<(Option<u32>, Option<u32>)>,
    /// Collected when it is first asked for.
    by_id: OnceCell<BTreeMap<u32, String>>,
}

impl HfTokenizer {
    /// Loads `tokenizer.json` and adds the special tokens that it lacks.
    pub(super) fn load(files: &VocabFiles) -> Result<Self> {
        let path = files.dir.join("tokenizer.json");
        let Some((bytes, definition)) = &files.tokenizer else {
            return Err(Error::input(&path, "expected this file, found none"));
        };
        budget::check(definition).map_err(|e| Error::input(&path, e))?;
        let mut tokenizer = guarded(files, || Tokenizer::from_bytes(bytes))?;
        // Neither is in force when a text is encoded by itself.
        tokenizer.with_padding(None);
        let _ = tokenizer.with_truncation(None);

        let class = class_of(files);
        let special = SpecialTokens::of(files, class)?;
        let mut missing = special.added.clone();
        for token in &special.tokens {
            if !missing.iter().any(|added| added.content == token.content) {
                missing.push(token.clone());
            }
        }
        let config = files.dir.join("tokenizer_config.json");
        budget::check_added(missing.iter().map(|t| t.content.as_str()))
            .map_err(|e| Error::input(&config, e))?;
        guarded(files, || {
            // A class's own defaults may not belong to this vocabulary at all; they must not make it
            // longer than the model's.
            let own = tokenizer.get_vocab_size(true);
            let limit = files.vocab_size(SIZE_KEYS, own).ok().flatten();
            let known = |content: &str| tokenizer.token_to_id(content).is_some();
            let room = limit.map(|n| n.saturating_sub(own));
            let unknown = missing.iter().filter(|t| !known(&t.content)).count();
            if room.is_some_and(|room| unknown > room) {
                missing.retain(|t| known(&t.content) || !special.defaults.contains(&t.content));
            }
            tokenizer.add_tokens(&missing);
            Ok(())
        })?;
        set_prefix_space(&mut tokenizer, files);

        let around = class.and_then(|c| c.replaces_post_processor).map(|default| {
            let id = |kind: &str, default: bool| {
                let add = files
                    .tokenizer_config(&format!("add_{kind}_token"))
                    .map_or(default, |v| v.as_bool().unwrap_or(false));
                let text = special.named.get(format!("{kind}_token").as_str());
                text.filter(|_| add).and_then(|text| tokenizer.token_to_id(text))
            };
            (id("bos", default), id("eos", false))
        });
        let clean_up = files
            .tokenizer_config("clean_up_tokenization_spaces")
            .and_then(Json::as_bool)
            .unwrap_or(false);
        let specials = special.tokens.into_iter().map(|t| t.content).collect();
        let this = Self {
            tokenizer,
            specials,
            clean_up,
            around,
            by_id: OnceCell::new(),
        };
        if this.tokenizer.get_vocab_size(true) > MAX_TOKENS {
            return Err(Error::input(
                &path,
                format!("expected at most {MAX_TOKENS} tokens, found more"),
            ));
        }
        Ok(this)
    }

    /// The `tokenizers` library's object.
    pub(super) fn inner(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// Number of tokens without added ones.
    pub(super) fn base_size(&self) -> usize {
        self.tokenizer.get_vocab_size(false)
    }

    /// One more than the highest id.
    pub(super) fn known(&self) -> usize {
        self.by_id().keys().next_back().map_or(0, |&id| id as usize + 1)
    }

    /// Whether a token is one of the named special tokens.
    pub(super) fn is_special(&self, text: &str) -> bool {
        self.specials.iter().any(|special| special == text)
    }

    /// Added tokens by id.
    pub(super) fn added(&self) -> BTreeMap<u32, AddedToken> {
        self.tokenizer.get_added_tokens_decoder().into_iter().collect()
    }

    /// All tokens by id. Where two share an id, an added one goes first, then the lesser text.
    pub(super) fn by_id(&self) -> &BTreeMap<u32, String> {
        self.by_id.get_or_init(|| self.collect_by_id())
    }

    fn collect_by_id(&self) -> BTreeMap<u32, String> {
        let mut tokens: BTreeMap<u32, String> = BTreeMap::new();
        for (text, id) in self.tokenizer.get_vocab(true) {
            tokens
                .entry(id)
                .and_modify(|known| {
                    if text < *known {
                        known.clone_from(&text);
                    }
                })
                .or_insert(text);
        }
        for (id, token) in self.added() {
            tokens.insert(id, token.content);
        }
        tokens
    }

    /// The ids of a text, with the tokens that the tokenizer puts around it.
    pub(super) fn encode(&self, files: &VocabFiles, text: &str) -> Result<Vec<u32>> {
        let add_special = self.around.is_none();
        let mut ids = guarded(files, || {
            Ok(self.tokenizer.encode(text, add_special)?.get_ids().to_vec())
        })?;
        if let Some((before, after)) = self.around {
            ids.splice(0..0, before);
            ids.extend(after);
        }
        Ok(ids)
    }

    /// Round trip of the text of an added token that is matched before normalization: encoded and decoded.
    pub(super) fn round_trip(&self, files: &VocabFiles, text: &str) -> Result<String> {
        let mut text = guarded(files, || {
            // The longest token at the first place is the whole text: nothing is left for the patterns that cut up a text,
            // which take long to compile.
            let is_alone =
                self.tokenizer.get_truncation().is_none() && self.tokenizer.get_padding().is_none();
            match self
                .tokenizer
                .token_to_id(text)
                .filter(|_| is_alone && !text.is_empty())
            {
                Some(id) => self.tokenizer.decode(&[id], false),
                None => {
                    let encoding = self.tokenizer.encode(text, false)?;
                    self.tokenizer.decode(encoding.get_ids(), false)
                }
            }
        })?;
        if self.clean_up {
            for (from, to) in CLEAN_UPS {
                text = text.replace(from, to);
            }
        }
        Ok(text)
    }
}

/// Runs code of the `tokenizers` library on a stranger's file. Its panics become errors.
pub(super) fn guarded<T>(files: &VocabFiles, work: impl FnOnce() -> tokenizers::Result<T>) -> Result<T> {
    let error = |message: String| -> Error {
        Error::input(
            files.dir.join("tokenizer.json"),
            format!("the tokenizer cannot be used: {message}"),
        )
    };
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(e)) => Err(error(e.to_string())),
        Err(_) => Err(error("expected a consistent definition, found another".into())),
    }
}

/// The class that loads the directory's tokenizer, where it is one with quirks of its own.
fn class_of(files: &VocabFiles) -> Option<&'static Class> {
    let name = class_name(files)?;
    CLASSES.iter().find(|class| class.name == name)
}

/// The name of the class that loads the directory's tokenizer, without `Fast`.
pub(super) fn class_name(files: &VocabFiles) -> Option<&str> {
    let named = files
        .tokenizer_config("tokenizer_class")
        .and_then(Json::as_str)
        .or_else(|| files.config.get("tokenizer_class").and_then(Json::as_str));
    if let Some(name) = named {
        return Some(name.strip_suffix("Fast").unwrap_or(name));
    }
    let model_type = files.config.get("model_type").and_then(Json::as_str)?;
    let of_type = CLASS_OF_MODEL_TYPE.iter().find(|(kind, _)| *kind == model_type);
    of_type.map(|(_, class)| *class)
}

/// A byte-level pre-tokenizer takes `add_prefix_space` of the configuration, which is false where it
/// is not there. One inside a sequence keeps its own.
fn set_prefix_space(tokenizer: &mut Tokenizer, files: &VocabFiles) {
    let wanted = match files.tokenizer_config("add_prefix_space") {
        None => false,
        Some(Json::Bool(value)) => *value,
        Some(_) => return,
    };
    if let Some(PreTokenizerWrapper::ByteLevel(level)) = tokenizer.get_pre_tokenizer() {
        let mut level = *level;
        level.add_prefix_space = wanted;
        tokenizer.with_pre_tokenizer(Some(level));
    }
}

/// The special tokens of a directory.
#[derive(Default)]
struct SpecialTokens {
    /// `bos_token` and the like, by key.
    named: BTreeMap<String, String>,
    /// All of them, in the order in which missing ones are added.
    tokens: Vec<AddedToken>,
    /// Further added tokens that the configuration lists, in the order of their ids.
    added: Vec<AddedToken>,
    /// Texts that come from the class alone.
    defaults: Vec<String>,
}

impl SpecialTokens {
    fn of(files: &VocabFiles, class: Option<&Class>) -> Result<Self> {
        let mut this = Self::default();
        let mut entries: BTreeMap<String, Json> = BTreeMap::new();
        for (key, text) in class.map_or(&[][..], |c| c.defaults) {
            entries.insert((*key).to_owned(), Json::from(*text));
        }
        if let Some(config) = files.tokenizer_config.as_ref().and_then(Json::as_object) {
            entries.extend(config.iter().map(|(k, v)| (k.clone(), v.clone())));
        }
        if let Some(decoder) = entries.get("added_tokens_decoder").and_then(Json::as_object) {
            let mut added: Vec<(u64, AddedToken)> = Vec::new();
            for (id, token) in decoder {
                if let (Ok(id), Some(token)) = (id.parse(), added_token(token)) {
                    added.push((id, token));
                }
            }
            added.sort_by_key(|(id, _)| *id);
            this.added = added.into_iter().map(|(_, token)| token).collect();
        } else {
            this.legacy(files, &mut entries)?;
        }

        let mut texts: Vec<String> = Vec::new();
        for key in SPECIAL_KEYS {
            if let Some(text) = entries.get(key).and_then(token_content) {
                this.named.insert(key.to_owned(), text.to_owned());
                texts.push(text.to_owned());
            }
        }
        let list = entries.get("additional_special_tokens").and_then(Json::as_array);
        texts.extend(
            list.into_iter()
                .flatten()
                .filter_map(token_content)
                .map(str::to_owned),
        );
        if let Some(class) = class {
            for (key, _) in class.defaults {
                if !SPECIAL_KEYS.contains(key) {
                    texts.extend(entries.get(*key).and_then(token_content).map(str::to_owned));
                }
            }
            for (key, text) in class.defaults {
                let configured = files.tokenizer_config(key).is_some();
                if !configured {
                    this.defaults.push((*text).to_owned());
                }
            }
        }
        let extra = entries.get("extra_special_tokens").and_then(Json::as_object);
        texts.extend(
            extra
                .into_iter()
                .flat_map(|map| map.values())
                .filter_map(token_content)
                .map(str::to_owned),
        );
        for text in texts {
            if !this.tokens.iter().any(|t| t.content == text) {
                this.tokens.push(AddedToken::from(text, true));
            }
        }
        // A named special token is special even where the list of added tokens does not say so.
        for token in &mut this.added {
            token.special |= this.tokens.iter().any(|t| t.content == token.content);
        }
        Ok(this)
    }

    /// Directories from before `added_tokens_decoder`: `special_tokens_map.json` overrides, and
    /// `added_tokens.json` lists further tokens.
    fn legacy(&mut self, files: &VocabFiles, entries: &mut BTreeMap<String, Json>) -> Result<()> {
        if let Some(Json::Object(map)) = json_optional(&files.dir.join("special_tokens_map.json"))? {
            entries.extend(map);
        }
        let Some(Json::Object(map)) = json_optional(&files.dir.join("added_tokens.json"))? else {
            return Ok(());
        };
        let special: Vec<&str> = SPECIAL_KEYS
            .iter()
            .filter_map(|key| entries.get(*key).and_then(token_content))
            .collect();
        let mut added: Vec<(u64, AddedToken)> = map
            .iter()
            .filter_map(|(text, id)| {
                let special = special.contains(&text.as_str());
                Some((id.as_u64()?, AddedToken::from(text.clone(), special)))
            })
            .collect();
        added.sort_by_key(|(id, _)| *id);
        self.added = added.into_iter().map(|(_, token)| token).collect();
        Ok(())
    }
}

/// One entry of `added_tokens_decoder`.
fn added_token(entry: &Json) -> Option<AddedToken> {
    let flag = |key: &str| entry.get(key).and_then(Json::as_bool);
    let special = flag("special").unwrap_or(false);
    Some(
        AddedToken::from(entry.get("content")?.as_str()?, special)
            .single_word(flag("single_word").unwrap_or(false))
            .lstrip(flag("lstrip").unwrap_or(false))
            .rstrip(flag("rstrip").unwrap_or(false))
            .normalized(flag("normalized").unwrap_or(!special)),
    )
}
