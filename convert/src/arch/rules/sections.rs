//! Parts of a configuration that `transformers` makes up where the directory of a model of several modes leaves them out.

use serde_json::{Map, Value};

use super::published::{TRANSFORMERS, is_known};

/// The row of [`TRANSFORMERS`] with the parts of each model type.
pub(in crate::arch) const SECTIONS: &str = "sections";

/// Completes those parts of a model's configuration that `is_wanted` takes, by their keys: a part that is left out or null is
/// what the class of the whole has, one that names no model type, or whose model type does not count, is of that which the
/// class has. Those of a model type that `transformers` does not know stay as they are, and so do all parts of a whole that
/// it refuses for one of them.
pub(crate) fn complete_sections(whole: &mut Map<String, Value>, is_wanted: impl Fn(&str) -> bool) {
    let parts = parts(whole).filter(|_| is_taken(whole));
    for (path, made) in parts.into_iter().flatten() {
        let (outer, key) = place(path);
        let of = made.get("of").and_then(Value::as_str);
        if !is_wanted(of.unwrap_or(key)) {
            continue;
        }
        // The part is completed before what the whole has of it.
        if let Some(of) = of {
            let value = whole.get(of).and_then(|part| part.get(key)).cloned();
            if let Some(value) = value {
                whole.entry(key).or_insert(value);
            }
            continue;
        }
        let holder = match outer {
            Some(outer) => object(whole, outer).map(|(inner, _)| inner),
            None => Some(&mut *whole),
        };
        let Some(holder) = holder else { continue };
        match made.as_object() {
            Some(row) => complete_section(holder, key, row, is_fixed(made)),
            None => drop(holder.entry(key).or_insert_with(|| made.clone())),
        }
    }
}

/// The parts of a model's row.
fn parts(whole: &Map<String, Value>) -> Option<&'static Map<String, Value>> {
    parts_of(whole.get("model_type").and_then(Value::as_str)?)
}

fn parts_of(model_type: &str) -> Option<&'static Map<String, Value>> {
    TRANSFORMERS[SECTIONS].get(model_type)?.as_object()
}

/// Whether a model type has defaults and no parts: a text model's.
pub(crate) fn is_one_part(model_type: &str) -> bool {
    parts_of(model_type).is_none() && crate::arch::built_in(model_type).is_some()
}

/// Whether `transformers` takes the configuration of a model of several modes: it knows the model type and refuses no part.
/// The stock converter takes another as it is stored, whatever types its parts are of.
pub(crate) fn is_taken(whole: &Map<String, Value>) -> bool {
    let name = whole.get("model_type").and_then(Value::as_str);
    let mut parts = parts(whole).into_iter().flatten();
    name.is_some_and(is_known) && !parts.any(|(path, made)| is_refused(whole, path, made))
}

/// The key of a part and that of what it is inside, of a path in a row.
fn place(path: &str) -> (Option<&str>, &str) {
    path.split_once('/').map_or((None, path), |(o, k)| (Some(o), k))
}

/// Whether `transformers` refuses the part at a path, by its own model type or that of its row, or does not know its own.
fn is_refused(whole: &Map<String, Value>, path: &str, made: &Value) -> bool {
    let (outer, key) = place(path);
    let holder = outer.map_or(Some(whole), |outer| whole.get(outer)?.as_object());
    let part = holder.and_then(|holder| holder.get(key)?.as_object());
    part.is_some_and(|part| {
        let named = part.get("model_type").filter(|_| !is_fixed(made));
        let model_type = named.unwrap_or(&made["model_type"]).as_str();
        // A null is a name that it does not know.
        let is_unknown = named.is_some_and(|named| !named.as_str().is_some_and(is_known));
        is_unknown || model_type.is_some_and(|model_type| crate::arch::is_refused(model_type, part))
    })
}

/// Whether the class of the whole has this part of one model type, whatever the directory names.
fn is_fixed(made: &Value) -> bool {
    made.get("fixed") == Some(&Value::Bool(true))
}

/// Completes one part by what its row says.
fn complete_section(holder: &mut Map<String, Value>, key: &str, made: &Map<String, Value>, is_fixed: bool) {
    let Some((section, is_absent)) = object(holder, key) else {
        return;
    };
    let mut completed = std::mem::take(section);
    if is_fixed {
        completed.shift_remove("model_type");
    }
    let values = |name: &str| made.get(name).and_then(Value::as_object).into_iter().flatten();
    let absent = values("absent").filter(|_| is_absent);
    let model_type = made.iter().filter(|(key, _)| *key == "model_type");
    for (key, value) in model_type.chain(absent).chain(values("always")) {
        completed.entry(key).or_insert_with(|| value.clone());
    }
    *section = crate::arch::complete(completed);
}

/// The object under a key, and whether it is a new one in place of none or null; `None` where another value stands.
fn object<'a>(holder: &'a mut Map<String, Value>, key: &str) -> Option<(&'a mut Map<String, Value>, bool)> {
    let value = holder.entry(key).or_insert(Value::Null);
    let is_absent = value.is_null();
    if is_absent {
        *value = Value::Object(Map::new());
    }
    Some((value.as_object_mut()?, is_absent))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn completed(text: &str) -> Value {
        let Ok(Value::Object(mut whole)) = serde_json::from_str(text) else {
            panic!("not an object")
        };
        complete_sections(&mut whole, |_| true);
        Value::Object(whole)
    }

    #[test]
    fn parts_are_made_where_there_are_none() {
        let whole = completed(r#"{"model_type": "voxtral", "audio_config": null, "text_config": {}}"#);
        assert_eq!(whole["audio_config"]["hidden_size"], 1280);
        // What the class of the whole has, not the part's.
        assert_eq!(
            (&whole["text_config"]["hidden_size"], &whole["hidden_size"]),
            (&3072.into(), &3072.into())
        );
        let absent = completed(r#"{"model_type": "mistral3"}"#);
        assert_eq!(absent["vision_config"]["image_size"], 1540);
        let given = completed(r#"{"model_type": "mistral3", "vision_config": {}}"#);
        assert_eq!(given["vision_config"]["image_size"], 1024);
        // Gemma 3's is Gemma's, that of LLaVA any.
        let width = |whole: &str| {
            let text = format!(r#"{{"model_type": "{whole}", "text_config": {{"model_type": "gemma2"}}}}"#);
            completed(&text)["text_config"]["max_position_embeddings"].clone()
        };
        assert_eq!((width("gemma3"), width("llava")), (131072.into(), 8192.into()));
        let nested = completed(r#"{"model_type": "qwen3_omni_moe"}"#);
        assert_eq!(nested["thinker_config"]["vision_config"]["depth"], 27);
        let plain = completed(r#"{"model_type": "granite_speech", "downsample_rate": 4}"#);
        assert_eq!(
            (&plain["downsample_rate"], &plain["window_size"]),
            (&4.into(), &15.into())
        );
    }

    #[test]
    fn parts_of_an_unknown_or_refused_model_stay_as_they_are() {
        for text in [
            r#"{"model_type": "llava", "text_config": {"rope_scaling": {"type": "linear"}}}"#,
            r#"{"model_type": "mistral3", "text_config": {"model_type": "ministral3"}}"#,
            r#"{"model_type": "qwen2_audio", "audio_config": {"model_type": null}, "text_config": {}}"#,
            r#"{"model_type": "kimi_k25", "vision_config": null}"#,
            r#"{"vision_config": {}}"#,
        ] {
            assert_eq!(completed(text), serde_json::from_str::<Value>(text).unwrap());
        }
    }
}
