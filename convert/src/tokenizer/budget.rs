//! Budget of a `tokenizer.json`, checked before the `tokenizers` library sees it.
//!
//! Rules of the format that lengthen a text are applied one after another, so a definition of a few kilobytes can
//! ask for any amount of memory: sixty times "a" → "aa" makes 2⁶⁰ letters of one. Here each rule's growth is
//! bounded by what it says, and their product by a limit; so are the texts of added tokens, of which the library
//! builds an automaton.

use serde_json::Value as Json;

use super::files::TokenizerJson;

/// Most rules of normalizer, pre-tokenizer, decoder and post-processor together. Published ones have 40 at most.
pub(super) const MAX_RULES: usize = 256;
/// Deepest sequence within sequences. Published ones are one deep.
pub(super) const MAX_NESTING: usize = 4;
/// Bytes of all patterns and replacements together. Published ones stay under 5,000.
pub(super) const MAX_PATTERN_BYTES: usize = 64 << 10;
/// Bytes that a text of [`TEXT_BYTES`], or an added token, can become at most. The library keeps some fifty bytes
/// for each.
pub(super) const MAX_GROWN_BYTES: f64 = (4 << 20) as f64;
/// Bytes of a text that is encoded to find out how a tokenizer splits.
const TEXT_BYTES: usize = 512;
/// Longest added token, in bytes. Published ones stay under 200.
pub(super) const MAX_ADDED_BYTES: usize = 1024;
/// Bytes of all added tokens together. Published ones stay under 1 MB.
pub(super) const MAX_ALL_ADDED_BYTES: usize = 8 << 20;
/// Ids that a template puts around a text, and times that it repeats the text.
pub(super) const MAX_TEMPLATE: usize = 1024;

/// Bytes that the compatibility forms of Unicode make of one at most: 33 of 3, and repeating them adds nothing.
const COMPATIBILITY_GROWTH: f64 = 11.0;
/// Bytes that Unicode's canonical forms make of one at most.
const CANONICAL_GROWTH: f64 = 3.0;
/// Growth assumed of a rule without a type.
const UNKNOWN_GROWTH: f64 = 4.0;

/// A definition's cost so far.
#[derive(Default)]
struct Cost {
    rules: usize,
    pattern_bytes: usize,
    /// Times that forms of Unicode have been counted: they are idempotent.
    composed: bool,
    lowered: bool,
    /// The rules are a decoder's.
    decoding: bool,
}

/// Checks a definition; what is wrong with it.
pub(super) fn check(json: &TokenizerJson) -> Result<(), String> {
    let mut cost = Cost::default();
    let mut growth = 1.0;
    for (part, rules) in [
        ("normalizer", &json.normalizer),
        ("pre_tokenizer", &json.pre_tokenizer),
    ] {
        growth *= cost
            .growth(rules.as_ref(), 0)
            .map_err(|e| format!("{part}: {e}"))?;
    }
    cost.decoding = true;
    let decoded = cost
        .growth(json.decoder.as_ref(), 0)
        .map_err(|e| format!("decoder: {e}"))?;
    let affixes = [
        &json.model.continuing_subword_prefix,
        &json.model.end_of_word_suffix,
    ];
    for affix in affixes.into_iter().flatten() {
        cost.add_pattern(affix.len()).map_err(|e| format!("model: {e}"))?;
    }
    template(&mut cost, json.post_processor.as_ref(), 0).map_err(|e| format!("post_processor: {e}"))?;
    let tokens: Vec<&str> = json
        .added_tokens
        .iter()
        .flatten()
        .filter_map(|token| token.get("content")?.as_str())
        .collect();
    let longest = check_added(tokens.into_iter())?.max(TEXT_BYTES);
    for (what, growth) in [
        ("normalizer and pre_tokenizer", growth),
        ("decoder", growth * decoded),
    ] {
        if growth * longest as f64 > MAX_GROWN_BYTES {
            return Err(format!(
                "{what}: expected rules that make at most {MAX_GROWN_BYTES} bytes of {longest}, found some that make {growth:.3e} of one"
            ));
        }
    }
    Ok(())
}

/// Checks the texts of added tokens; the length of the longest.
pub(super) fn check_added<'a>(tokens: impl Iterator<Item = &'a str>) -> Result<usize, String> {
    let (mut longest, mut all) = (0, 0usize);
    for token in tokens {
        longest = longest.max(token.len());
        all = all.saturating_add(token.len());
        if token.len() > MAX_ADDED_BYTES {
            let start: String = token.chars().take(16).collect();
            return Err(format!(
                "added token {start:?}…: expected at most {MAX_ADDED_BYTES} bytes, found {}",
                token.len()
            ));
        }
    }
    if all > MAX_ALL_ADDED_BYTES {
        return Err(format!(
            "added tokens: expected at most {MAX_ALL_ADDED_BYTES} bytes, found {all}"
        ));
    }
    Ok(longest)
}

impl Cost {
    fn add_rule(&mut self, depth: usize) -> Result<(), String> {
        self.rules += 1;
        if self.rules > MAX_RULES {
            return Err(format!("expected at most {MAX_RULES} rules, found more"));
        }
        if depth > MAX_NESTING {
            return Err(format!(
                "expected sequences at most {MAX_NESTING} deep, found deeper ones"
            ));
        }
        Ok(())
    }

    fn add_pattern(&mut self, bytes: usize) -> Result<(), String> {
        self.pattern_bytes = self.pattern_bytes.saturating_add(bytes);
        if self.pattern_bytes > MAX_PATTERN_BYTES {
            return Err(format!(
                "expected patterns and replacements of at most {MAX_PATTERN_BYTES} bytes, found more"
            ));
        }
        Ok(())
    }

    /// Bytes that a rule, or a sequence of them, can make of one.
    fn growth(&mut self, rule: Option<&Json>, depth: usize) -> Result<f64, String> {
        let Some(Json::Object(rule)) = rule else {
            return Ok(1.0);
        };
        self.add_rule(depth)?;
        let length = |key: &str| rule.get(key).and_then(Json::as_str).map_or(0, str::len);
        let kind = rule.get("type").and_then(Json::as_str);
        let mut growth = 1.0;
        // A rule is told by its keys, since the library takes some without a type.
        for key in ["normalizers", "pretokenizers", "decoders"] {
            for inner in rule.get(key).and_then(Json::as_array).into_iter().flatten() {
                growth *= self.growth(Some(inner), depth + 1)?;
            }
        }
        let pattern = rule.get("pattern").map(|pattern| {
            let text = |key: &str| pattern.get(key).and_then(Json::as_str).map(str::len);
            // An expression may match nothing at all, before every character.
            (
                text("String").filter(|&n| n > 0),
                text("Regex").or(text("String")).unwrap_or(0),
            )
        });
        let (plain, bytes) = pattern.unwrap_or_default();
        self.add_pattern(bytes)?;
        let content = length("content");
        if content > 0 && rule.contains_key("pattern") {
            self.add_pattern(content)?;
            growth *= match plain {
                Some(plain) => (content as f64 / plain as f64).max(1.0),
                None => 1.0 + content as f64,
            };
        }
        for key in ["prepend", "prefix", "suffix", "replacement"] {
            self.add_pattern(length(key))?;
        }
        // Put before a text, or before each piece of one.
        growth *= 1.0 + (length("prepend") + length("prefix") + length("suffix")) as f64;
        // A decoder puts one space for it.
        if length("replacement") > 0 && !self.decoding {
            growth *= 1.0 + length("replacement") as f64;
        }
        if let Some(map) = rule.get("precompiled_charsmap").and_then(Json::as_str) {
            growth *= charsmap_growth(map);
        }
        let mut once = |known: fn(&mut Self) -> &mut bool, factor: f64| {
            let known = known(self);
            let factor = if *known { 1.0 } else { factor };
            *known = true;
            factor
        };
        growth *= match kind {
            Some("NFKC" | "NFKD") => once(|c| &mut c.composed, COMPATIBILITY_GROWTH),
            Some("NFC" | "NFD" | "StripAccents") => once(|c| &mut c.composed, CANONICAL_GROWTH),
            Some("Lowercase") => once(|c| &mut c.lowered, 1.5),
            Some("BertNormalizer") => {
                once(|c| &mut c.composed, CANONICAL_GROWTH) * once(|c| &mut c.lowered, 1.5) * 2.0
            }
            // A byte becomes a character of two, and a space may come before each piece.
            Some("ByteLevel") => 3.0,
            // A byte that is no UTF-8 is decoded as three.
            Some("ByteFallback") => 3.0,
            None => UNKNOWN_GROWTH,
            _ => 1.0,
        };
        Ok(growth)
    }
}

/// Checks what is put around a text.
fn template(cost: &mut Cost, rule: Option<&Json>, depth: usize) -> Result<usize, String> {
    let Some(Json::Object(rule)) = rule else {
        return Ok(1);
    };
    cost.add_rule(depth)?;
    let mut times = 1usize;
    for inner in rule
        .get("processors")
        .and_then(Json::as_array)
        .into_iter()
        .flatten()
    {
        times = times.saturating_mul(template(cost, Some(inner), depth + 1)?);
    }
    let ids = |name: &str| {
        let token = rule.get("special_tokens").and_then(|tokens| tokens.get(name));
        token.and_then(|t| t.get("ids")?.as_array()).map_or(1, Vec::len)
    };
    for part in ["single", "pair"] {
        let (mut repeats, mut around) = (0usize, 0usize);
        match rule.get(part) {
            Some(Json::Array(pieces)) => {
                for piece in pieces {
                    match piece.get("SpecialToken").and_then(|t| t.get("id")?.as_str()) {
                        Some(name) => around = around.saturating_add(ids(name)),
                        None => repeats += 1,
                    }
                }
            }
            // Pieces between blanks, each of which may be a special token of many ids.
            Some(Json::String(pieces)) => {
                for piece in pieces.split_whitespace() {
                    repeats += usize::from(piece.starts_with('$'));
                    around = around.saturating_add(ids(piece));
                }
            }
            _ => continue,
        }
        times = times.saturating_mul(repeats.max(1));
        if around > MAX_TEMPLATE {
            return Err(format!(
                "expected at most {MAX_TEMPLATE} ids around a text, found {around}"
            ));
        }
    }
    if times > MAX_TEMPLATE {
        return Err(format!(
            "expected a text repeated at most {MAX_TEMPLATE} times, found {times}"
        ));
    }
    Ok(times)
}

/// Bytes that a precompiled normalization makes of one at most: as many as its longest replacement has. The map is
/// the size of a double array, the array, and replacements that end with a zero.
fn charsmap_growth(map: &str) -> f64 {
    use base64::Engine as _;
    // What is not readable is refused by the library.
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(map)
        .unwrap_or_default();
    let longest = bytes.split_first_chunk::<4>().and_then(|(size, rest)| {
        let replacements = rest.get(u32::from_le_bytes(*size) as usize..)?;
        replacements.split(|&b| b == 0).map(<[u8]>::len).max()
    });
    longest.unwrap_or(0).max(1) as f64
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(definition: Json) -> Result<(), String> {
        check(&serde_json::from_value(definition).unwrap())
    }

    #[track_caller]
    fn refused(definition: Json, words: &str) {
        let error = of(definition).unwrap_err();
        assert!(error.contains(words), "{error}");
    }

    fn many(key: &str, kind: Json, n: usize) -> Json {
        json!({"type": "Sequence", key: vec![kind; n]})
    }

    #[test]
    fn rules_that_grow_a_text_are_bounded() {
        let double = json!({"type": "Replace", "pattern": {"String": "a"}, "content": "aa"});
        let by_regex = json!({"type": "Replace", "pattern": {"Regex": "a"}, "content": "aa"});
        let prepend = json!({"type": "Prepend", "prepend": "▁"});
        let bytes = json!({"type": "ByteLevel", "add_prefix_space": false, "use_regex": false});
        let metaspace = json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always"});
        for rule in [&double, &by_regex, &prepend, &bytes] {
            refused(
                json!({"normalizer": many("normalizers", rule.clone(), 60)}),
                "expected rules that make at most",
            );
        }
        for rule in [&bytes, &metaspace] {
            refused(
                json!({"pre_tokenizer": many("pretokenizers", rule.clone(), 60)}),
                "expected rules that make at most",
            );
        }
        refused(
            json!({"decoder": many("decoders", double.clone(), 60)}),
            "expected rules that make at most",
        );
        // One rule alone, by its length; and both parts together.
        let long = json!({"type": "Replace", "pattern": {"Regex": ""}, "content": "a".repeat(10_000)});
        refused(json!({"normalizer": long}), "expected rules that make at most");
        let normalizer = many("normalizers", double.clone(), 8);
        assert!(of(json!({"normalizer": normalizer})).is_ok());
        let decoder = many("decoders", double, 8);
        refused(
            json!({"normalizer": normalizer, "decoder": decoder}),
            "expected rules that make at most",
        );
    }

    #[test]
    fn counts_and_lengths_are_bounded() {
        let digits = json!({"type": "Digits", "individual_digits": true});
        refused(
            json!({"pre_tokenizer": many("pretokenizers", digits.clone(), MAX_RULES)}),
            "rules",
        );
        let mut nested = digits;
        for _ in 0..6 {
            nested = many("pretokenizers", nested, 1);
        }
        refused(json!({"pre_tokenizer": nested}), "deep");
        let split = json!({"type": "Split", "pattern": {"Regex": "a".repeat(MAX_PATTERN_BYTES + 1)}});
        refused(json!({"pre_tokenizer": split}), "patterns");
        refused(
            json!({"added_tokens": [{"content": "a".repeat(100_000)}]}),
            "added token",
        );
        let token = json!({"content": "a".repeat(1000)});
        refused(
            json!({"added_tokens": vec![token; 10_000]}),
            "added tokens: expected",
        );
        let prefix = "#".repeat(MAX_PATTERN_BYTES + 1);
        refused(json!({"model": {"continuing_subword_prefix": prefix}}), "model");
    }

    #[test]
    fn templates_are_bounded() {
        let ids: Vec<u32> = (0..1000).collect();
        let special = json!({"SpecialToken": {"id": "x", "type_id": 0}});
        let template = json!({
            "type": "TemplateProcessing",
            "single": vec![special; 1000],
            "pair": [],
            "special_tokens": {"x": {"id": "x", "ids": ids, "tokens": []}},
        });
        refused(json!({"post_processor": template}), "ids around");
        let twice = json!({"single": "$A $A", "pair": "$A $B", "special_tokens": {}});
        refused(
            json!({"post_processor": many("processors", twice, 60)}),
            "repeated",
        );
    }

    /// Largest sizes of published definitions, each with room.
    #[test]
    fn published_definitions_are_accepted() {
        let map = {
            use base64::Engine as _;
            let pool = format!("{}\0", "x".repeat(33));
            let bytes = [&4u32.to_le_bytes()[..], &[0; 4], pool.as_bytes()].concat();
            base64::engine::general_purpose::STANDARD.encode(bytes)
        };
        let replace =
            |from: &str, to: &str| json!({"type": "Replace", "pattern": {"String": from}, "content": to});
        // ALBERT's.
        let normalizers = json!([
            replace("``", "\""),
            replace("''", "\""),
            {"type": "NFKD"},
            {"type": "StripAccents"},
            {"type": "Lowercase"},
            {"type": "Precompiled", "precompiled_charsmap": map},
        ]);
        let metaspace = json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always"});
        let definition = json!({
            "normalizer": {"type": "Sequence", "normalizers": normalizers},
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, metaspace]},
            "decoder": metaspace,
        });
        of(definition).unwrap();
    }

    /// Files named in an environment variable, for a look at all that a machine has.
    #[test]
    #[ignore = "an explicit command: QUANTSMITH_TOKENIZERS=FILE:FILE cargo test -p quantsmith-convert --lib budget -- --ignored"]
    fn files_that_are_named_are_accepted() {
        let files = std::env::var("QUANTSMITH_TOKENIZERS").expect("QUANTSMITH_TOKENIZERS");
        for file in files.split(':') {
            let bytes = std::fs::read(file).unwrap();
            let definition: TokenizerJson = serde_json::from_slice(&bytes).unwrap();
            check(&definition).unwrap_or_else(|e| panic!("{file}: {e}"));
        }
    }
}
