//! Models that read images or sound beside text: which part of a directory is the text model, which the
//! encoder.

use serde_json::{Map, Value};

use super::sections::{complete_sections, is_one_part, is_taken};

/// The key that the text model's configuration is brought to, wherever it stands.
pub(crate) const TEXT: &str = "text_config";

/// The scaling of the rotation.
pub(super) const ROPE_SCALING: &str = "rope_scaling";

/// Where it stands in `config.json`, inside which other key. Of several, the stock converter takes the first of these.
const PLACES: [(Option<&str>, &str); 5] = [
    (None, "language_config"),
    (Some("thinker_config"), TEXT),
    (None, "lm_config"),
    (None, "llm_config"),
    (None, TEXT),
];

/// Configuration of the text model inside a class of several modes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Completed {
    /// `transformers` completes it, as this model type where it names none.
    As(&'static str),
    /// `transformers` does not know the class, so that it is taken as it is.
    AsItIs,
}

use Completed::{As, AsItIs};

/// Classes of several modes.
const CLASSES: &[(&str, Completed)] = &[
    ("LlavaForConditionalGeneration", As("llama")),
    ("Mistral3ForConditionalGeneration", As("mistral")),
    ("Gemma3ForConditionalGeneration", As("gemma3_text")),
    ("Gemma3nForConditionalGeneration", As("gemma3n_text")),
    ("Llama4ForConditionalGeneration", As("llama4_text")),
    ("Idefics3ForConditionalGeneration", As("llama")),
    ("SmolVLMForConditionalGeneration", As("llama")),
    ("Qwen2VLForConditionalGeneration", As("qwen2_vl_text")),
    ("Qwen2VLModel", As("qwen2_vl_text")),
    ("Qwen2_5_VLForConditionalGeneration", As("qwen2_5_vl_text")),
    ("Qwen2_5OmniModel", As("qwen2_5_omni_text")),
    ("Qwen3VLForConditionalGeneration", As("qwen3_vl_text")),
    ("Qwen3VLMoeForConditionalGeneration", As("qwen3_vl_moe_text")),
    ("Qwen3OmniMoeForConditionalGeneration", As("qwen3_omni_moe_text")),
    ("Glm4vForConditionalGeneration", As("glm4v_text")),
    ("Glm4vMoeForConditionalGeneration", As("glm4v_moe_text")),
    ("VoxtralForConditionalGeneration", As("llama")),
    ("JanusForConditionalGeneration", As("llama")),
    ("ChameleonForCausalLM", As("chameleon")),
    ("ChameleonForConditionalGeneration", As("chameleon")),
    ("Qwen2AudioForConditionalGeneration", As("qwen2")),
    ("AudioFlamingo3ForConditionalGeneration", AsItIs),
    ("BailingMoeV3VLForConditionalGeneration", AsItIs),
    ("DeepseekOCRForCausalLM", AsItIs),
    ("DeepseekOCR2ForCausalLM", AsItIs),
    ("Dots3NoteForCausalLM", AsItIs),
    ("Dots3NoteForConditionalGeneration", AsItIs),
    ("DotsOCRForCausalLM", AsItIs),
    ("Exaone4_5_ForConditionalGeneration", AsItIs),
    ("GlmOcrForConditionalGeneration", AsItIs),
    ("KimiK3ForConditionalGeneration", AsItIs),
    ("KimiVLForConditionalGeneration", AsItIs),
    ("KimiK25ForConditionalGeneration", AsItIs),
    ("MiniCPMV4_6ForConditionalGeneration", AsItIs),
    ("MiniMaxM3SparseForConditionalGeneration", AsItIs),
    ("MuseGlimmerForConditionalGeneration", AsItIs),
    ("PaddleOCRVLForConditionalGeneration", AsItIs),
    ("Phi4ForCausalLMV", AsItIs),
    ("Qwen3ASRForConditionalGeneration", AsItIs),
    ("Sarashina2VisionForCausalLM", AsItIs),
    ("Step3p7ForConditionalGeneration", AsItIs),
    ("StepVLForConditionalGeneration", AsItIs),
    ("UnlimitedOCRForCausalLM", AsItIs),
    ("YoutuVLForConditionalGeneration", AsItIs),
];

/// Classes that are converted as what they are, although the text model inside names a class of its own.
const OWN: [&str; 9] = [
    "KimiK3ForConditionalGeneration",
    "MiniCPMV4_6ForConditionalGeneration",
    "Step3p7ForConditionalGeneration",
    "DeepseekOCRForCausalLM",
    "DeepseekOCR2ForCausalLM",
    "Exaone4_5_ForConditionalGeneration",
    "Sarashina2VisionForCausalLM",
    "StepVLForConditionalGeneration",
    "UnlimitedOCRForCausalLM",
];

/// The first class that a configuration names.
pub(crate) fn class_of(config: &Map<String, Value>) -> Option<&str> {
    config.get("architectures")?.get(0)?.as_str()
}

/// The part of a directory from which the text model is converted.
pub(crate) struct TextPart {
    /// The text model's configuration, over that of the whole. Its class is the text model's own where it names
    /// one.
    pub(crate) config: Map<String, Value>,
    /// With parts beside the text model: the configuration of the whole, with the text model's completed inside it.
    pub(crate) whole: Option<Map<String, Value>>,
}

/// A model that speaks, whose text model is the one that it speaks with.
const TALKER: &str = "Qwen3TTSForConditionalGeneration";

/// The configuration of a model that speaks: the talker's over that of the whole, with both its vocabularies.
fn talker(config: &Map<String, Value>) -> Option<Map<String, Value>> {
    let inner = config.get("talker_config")?.as_object()?;
    let mut merged = config.clone();
    merged.extend(inner.clone());
    for (from, to) in [
        ("vocab_size", "codec_vocab_size"),
        ("text_vocab_size", "vocab_size"),
    ] {
        if let Some(value) = inner.get(from).cloned() {
            merged.insert(to.to_owned(), value);
        }
    }
    merged.insert("architectures".to_owned(), config.get("architectures")?.clone());
    Some(crate::arch::complete(merged))
}

/// The text model's configuration as it is inside that of the whole.
pub(crate) fn inner_text(config: &Map<String, Value>) -> Option<&Map<String, Value>> {
    PLACES.iter().find_map(|(outer, key)| {
        let holder = match outer {
            Some(outer) => config.get(*outer)?.as_object()?,
            None => config,
        };
        holder.get(*key)?.as_object()
    })
}

/// Completes the parts of a model of several modes as `transformers` does where it knows the whole.
pub(crate) fn complete_parts(whole: &mut Map<String, Value>) {
    complete_sections(whole, |key| key != TEXT);
    // Older directories have its keys beside the encoder's configuration.
    if inner_text(whole).is_some() || !whole.contains_key("hidden_size") {
        complete_sections(whole, |key| key == TEXT);
    }
}

/// The text model's configuration, completed where it is inside another.
pub(crate) fn text_part(mut config: Map<String, Value>) -> TextPart {
    // Completing the text model moves its own to another key, beside which that of the whole would count.
    if inner_text(&config).is_some_and(|text| text.get(ROPE_SCALING).is_some_and(Value::is_object)) {
        config.shift_remove(ROPE_SCALING);
    }
    complete_parts(&mut config);
    let is_taken = is_taken(&config);
    let class = class_of(&config);
    if class == Some(TALKER)
        && let Some(config) = talker(&config)
    {
        return TextPart { config, whole: None };
    }
    let completed = CLASSES.iter().find(|(name, _)| Some(*name) == class).map(|c| c.1);
    let inner = inner_text(&config);
    let mut text = match (inner, completed) {
        (Some(text), _) => text.clone(),
        // Older directories have the text model's keys beside the encoder's configuration.
        (None, Some(_)) => {
            let mut text = config.clone();
            // The whole's type is no text model's, unless the whole is one by its type.
            let model_type = text.get("model_type").and_then(Value::as_str);
            if !model_type.is_some_and(is_one_part) {
                text.shift_remove("model_type");
            }
            text
        }
        (None, None) => return TextPart { config, whole: None },
    };
    let named = text.get("model_type").and_then(Value::as_str);
    match completed {
        Some(As(model_type)) if is_taken => {
            text.entry("model_type").or_insert(model_type.into());
        }
        None if is_taken => {}
        // Of a type that has no defaults, the name may still tell what the model is.
        Some(As(_)) | None if named.is_none_or(|name| crate::arch::built_in(name).is_none()) => {}
        _ => drop(text.shift_remove("model_type")),
    }
    if class.is_some_and(|class| OWN.contains(&class)) {
        text.shift_remove("architectures");
    }
    let text = crate::arch::complete(text);
    let (mut whole, mut merged) = (config.clone(), config);
    let architectures = merged.get("architectures").cloned();
    merged.extend(text.clone());
    if class_of(&text).is_none()
        && let Some(architectures) = architectures
    {
        merged.insert("architectures".to_owned(), architectures);
    }
    whole.insert(TEXT.to_owned(), Value::Object(text));
    TextPart {
        config: merged,
        whole: Some(whole),
    }
}

/// Beginnings of the names of tensors that are not the text model's.
const OTHER_PREFIXES: [&str; 18] = [
    "mlp",
    "model.merger.",
    "model.aligner.",
    "model.generation_aligner.",
    "model.generation_embeddings.",
    "model.generation_head.",
    "model.vqmodel.",
    "model.sam_model.",
    "model.qwen2_model.",
    "vit.",
    "vpm.",
    "siglip2.",
    "conformer.",
    "merger.",
    "resampler.",
    "sound_encoder.",
    "sound_projection.",
    "speech_embeddings.",
];

/// Parts of the names of such tensors.
const OTHER_PARTS: [&str; 16] = [
    "visual.",
    "vision.",
    "audio.",
    "talker.",
    "vision_",
    "audio_",
    "token2wav.",
    "code2wav.",
    "projector.",
    "pre_mm_projector_norm",
    "image_newline",
    "view_seperator",
    "patch_embed",
    "patch_merger.",
    "patch_merge_mlp.",
    "model.connector.",
];

/// A tensor's name in the text model by itself; `None` when it belongs to another part.
pub(crate) fn text_name(name: &str) -> Option<String> {
    let other =
        OTHER_PREFIXES.iter().any(|p| name.starts_with(p)) || OTHER_PARTS.iter().any(|p| name.contains(p));
    (!other).then(|| name.replace("text_model.", "").replace("language_model.", ""))
}

/// The module that a tensor of another part belongs to, for messages: the first parts of its name that are no
/// wrapper's.
pub(crate) fn module_of(name: &str) -> &str {
    let start = name.strip_prefix("model.").map_or(0, |_| "model.".len());
    let end = name[start..].find('.').map_or(name.len(), |dot| start + dot);
    &name[start..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_model_is_found_inside_or_beside() {
        let parse = |text: &str| match serde_json::from_str(text) {
            Ok(Value::Object(map)) => text_part(map),
            _ => panic!("not an object"),
        };
        let inside = parse(
            r#"{"architectures": ["LlavaForConditionalGeneration"], "eos_token_id": 7,
                "text_config": {"architectures": ["MistralForCausalLM"], "model_type": "mistral",
                "hidden_size": 8, "eos_token_id": 9}}"#,
        );
        assert_eq!(class_of(&inside.config), Some("MistralForCausalLM"));
        let whole = inside.whole.unwrap();
        assert_eq!(inside.config["hidden_size"], 8);
        assert_eq!(
            (&inside.config["eos_token_id"], &whole["eos_token_id"]),
            (&9.into(), &7.into())
        );
        let beside = parse(r#"{"architectures": ["Qwen2VLForConditionalGeneration"], "hidden_size": 8}"#);
        assert_eq!(class_of(&beside.config), Some("Qwen2VLForConditionalGeneration"));
        assert_eq!(beside.config["hidden_size"], 8);
        assert!(
            parse(r#"{"architectures": ["LlamaForCausalLM"]}"#)
                .whole
                .is_none()
        );
    }

    #[test]
    fn tensors_of_other_parts_are_told_from_the_text_models() {
        assert_eq!(
            text_name("model.language_model.layers.0.mlp.up_proj.weight").as_deref(),
            Some("model.layers.0.mlp.up_proj.weight")
        );
        assert_eq!(
            text_name("language_model.lm_head.weight").as_deref(),
            Some("lm_head.weight")
        );
        assert_eq!(text_name("model.vision_tower.x.weight"), None);
        assert_eq!(module_of("model.vision_tower.x.weight"), "vision_tower");
        assert_eq!(
            module_of("multi_modal_projector.linear_1.weight"),
            "multi_modal_projector"
        );
        assert_eq!(module_of("image_newline"), "image_newline");
    }
}
