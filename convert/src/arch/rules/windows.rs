//! Which layers see a window and which rotate, where the graphs of llama.cpp take it from a period and a configuration
//! has a list.

use gguf::Metadata;
use serde_json::Value;

use crate::Result;
use crate::arch::{Architecture, Hparams};

/// The behaviour of an architecture's graph where its file has no list.
struct Usual {
    arch: &'static str,
    /// One layer of this many sees everything, or does not rotate.
    period: usize,
    /// Whether it is the first of them; the last otherwise.
    first: bool,
    /// Whether the layers without a window go without rotation, by the period alone.
    fixes_rotation: bool,
}

const fn usual(arch: &'static str, period: usize) -> Usual {
    Usual {
        arch,
        period,
        first: false,
        fixes_rotation: false,
    }
}

/// Architectures whose loader has a period of its own and reads a list where the file has one.
const PERIODS: [Usual; 8] = [
    Usual {
        fixes_rotation: true,
        ..usual("afmoe", 4)
    },
    usual("cohere2", 4),
    usual("gemma-embedding", 6),
    usual("gemma2", 2),
    usual("gemma3", 6),
    usual("gpt-oss", 2),
    Usual {
        first: true,
        ..usual("laguna", 4)
    },
    Usual {
        first: true,
        fixes_rotation: true,
        ..usual("smallthinker", 4)
    },
];

/// Architectures whose graph leaves out the rotation of every fourth layer.
const EVERY_FOURTH_UNROTATED: [&str; 2] = ["llama4", "smollm3"];

impl Usual {
    fn slides(&self, layer: usize) -> bool {
        match self.first {
            true => !layer.is_multiple_of(self.period),
            false => !(layer + 1).is_multiple_of(self.period),
        }
    }
}

/// A list of flags of the configuration, one for each block.
fn flags(hp: &Hparams, key: &str, is_set: &dyn Fn(&Value) -> bool) -> Result<Option<Vec<bool>>> {
    let Some(list) = hp.find(&[key]) else {
        return Ok(None);
    };
    let Some(list) = list.as_array().filter(|list| !list.is_empty()) else {
        return Ok(None);
    };
    let blocks = hp.block_count() as usize;
    if list.len() < blocks {
        return Err(hp.error(format!(
            "{key}: expected one entry for each of {blocks} blocks, found {}",
            list.len()
        )));
    }
    Ok(Some(list.iter().take(blocks).map(is_set).collect()))
}

fn numbered(value: &Value) -> bool {
    *value != 0 && *value != false
}

/// Which layers see a window, as the configuration says: (its key, the layers).
fn windows(hp: &Hparams) -> Result<Option<(&'static str, Vec<bool>)>> {
    let sliding = |kind: &Value| kind == "sliding_attention";
    if let Some(layers) = flags(hp, "layer_types", &sliding)? {
        return Ok(Some(("layer_types", layers)));
    }
    if let Some(layers) = flags(hp, "sliding_window_layout", &numbered)? {
        return Ok(Some(("sliding_window_layout", layers)));
    }
    // Gemma's and Command's, before layers were listed.
    for key in ["sliding_window_pattern", "_sliding_window_pattern"] {
        if let Some(period) = hp.find(&[key]).and_then(Value::as_u64).filter(|&n| n > 0) {
            let slides = |i: u32| !u64::from(i + 1).is_multiple_of(period);
            return Ok(Some((key, (0..hp.block_count()).map(slides).collect())));
        }
    }
    Ok(None)
}

/// Adds the list of layers with a window to a file whose graph would take others.
///
/// # Errors
/// Lists that the graph cannot follow.
pub(crate) fn complete(hp: &Hparams, architecture: &Architecture, metadata: &mut Metadata) -> Result<()> {
    let arch = architecture.gguf;
    if EVERY_FOURTH_UNROTATED.contains(&arch) {
        return unrotated(hp, arch, metadata);
    }
    let Some(usual) = PERIODS.iter().find(|usual| usual.arch == arch) else {
        return Ok(());
    };
    let key = |suffix: &str| format!("{arch}.attention.{suffix}");
    let pattern = key("sliding_window_pattern");
    let has_window = metadata.get_u64(&key("sliding_window")).is_some_and(|n| n > 0);
    if !has_window || metadata.get(&pattern).is_some() {
        return Ok(());
    }
    let Some((named, layers)) = windows(hp)? else {
        return Ok(());
    };
    let expected: Vec<bool> = (0..layers.len()).map(|i| usual.slides(i)).collect();
    if usual.fixes_rotation {
        let rotates = flags(hp, "rope_layout", &numbered)?.unwrap_or_else(|| layers.clone());
        if rotates != expected {
            let at = rotates.iter().zip(&expected).position(|(a, b)| a != b);
            return Err(hp.error(format!(
                "{named}: the graph of {arch} rotates all layers but the {} of every {}, expected the same here; the first \
                 other layer is {}",
                if usual.first { "first" } else { "last" },
                usual.period,
                at.unwrap_or_default()
            )));
        }
    }
    if layers != expected {
        metadata.set(pattern, layers);
    }
    Ok(())
}

/// Compares the layers that rotate with those that do in the graph.
fn unrotated(hp: &Hparams, arch: &str, metadata: &Metadata) -> Result<()> {
    const KEY: &str = "no_rope_layers";
    let Some(rotates) = flags(hp, KEY, &numbered)? else {
        return Ok(());
    };
    // Llama 4 without chunks rotates everywhere.
    let everywhere = metadata.get_u64(&format!("{arch}.attention.sliding_window")) == Some(0);
    let expected = |i: usize| everywhere || !(i + 1).is_multiple_of(4);
    match (0..rotates.len()).find(|&i| rotates[i] != expected(i)) {
        None => Ok(()),
        Some(i) => Err(hp.error(format!(
            "{KEY}: expected {} of layer {i}, which the graph of {arch} has fixed, found {}",
            u8::from(expected(i)),
            u8::from(rotates[i])
        ))),
    }
}

/// Model types whose layers all see the window that the configuration names.
const ALL_SLIDE: [&str; 6] = [
    "ministral",
    "ministral3",
    "mistral",
    "mixtral",
    "phimoe",
    "starcoder2",
];

/// A note on a window that the graph does not have.
pub(crate) fn dropped(hp: &Hparams, architecture: &Architecture, metadata: &Metadata) -> Option<String> {
    let arch = architecture.gguf;
    let written = metadata
        .get(&format!("{arch}.attention.sliding_window"))
        .is_some();
    let window = hp
        .opt_u32(&["sliding_window"])
        .ok()
        .flatten()
        .filter(|&n| n > 0)?;
    let context = hp.opt_u32(&["max_position_embeddings"]).ok().flatten()?;
    if written || window >= context || hp.opt_bool("use_sliding_window") == Some(false) {
        return None;
    }
    let kind = hp.opt_str(&["model_type"]).unwrap_or("");
    let slides = match flags(hp, "layer_types", &|kind| kind == "sliding_attention") {
        Ok(Some(layers)) => layers.contains(&true),
        _ if ALL_SLIDE.contains(&kind) => true,
        // The layers from this one on.
        _ => {
            hp.opt_bool("use_sliding_window") == Some(true)
                && hp
                    .opt_u32(&["max_window_layers"])
                    .is_ok_and(|first| first.is_none_or(|first| first < hp.block_count()))
        }
    };
    slides.then(|| {
        format!(
            "sliding_window is {window}, and llama.cpp's graph of {arch} has no window: beyond {window} tokens of a \
             context of {context} it computes something else; the model is converted without, as by the stock converter"
        )
    })
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use serde_json::json;

    use super::*;
    use crate::arch::{ARCHITECTURES, complete as complete_config};

    fn hparams(config: &Value) -> Hparams {
        let mut whole = json!({"num_hidden_layers": 8, "hidden_size": 64, "num_attention_heads": 4,
            "max_position_embeddings": 4096});
        for (key, value) in config.as_object().unwrap() {
            whole[key] = value.clone();
        }
        let whole = whole.as_object().cloned().unwrap();
        Hparams::new(PathBuf::from("config.json"), complete_config(whole)).unwrap()
    }

    fn architecture(gguf: &str) -> &'static Architecture {
        ARCHITECTURES.iter().find(|a| a.gguf == gguf).unwrap()
    }

    /// The pattern that is written for a configuration with a window of 16.
    fn pattern(arch: &str, config: Value) -> std::result::Result<Option<gguf::Value>, String> {
        let mut metadata = Metadata::new();
        let window = if arch == "llama4" { 8192u32 } else { 16 };
        metadata.set(format!("{arch}.attention.sliding_window"), window);
        complete(&hparams(&config), architecture(arch), &mut metadata).map_err(|e| e.to_string())?;
        Ok(metadata
            .get(&format!("{arch}.attention.sliding_window_pattern"))
            .cloned())
    }

    /// Layer types with a full layer at every place that this says.
    fn types(is_full: impl Fn(usize) -> bool) -> Value {
        let kind = |i| match is_full(i) {
            true => "full_attention",
            false => "sliding_attention",
        };
        json!({"layer_types": (0..8).map(kind).collect::<Vec<_>>()})
    }

    #[test]
    fn what_the_graph_does_anyway_is_not_written() {
        for (arch, period) in [
            ("gemma2", 2),
            ("gemma3", 6),
            ("cohere2", 4),
            ("gpt-oss", 2),
            ("afmoe", 4),
        ] {
            assert_eq!(
                pattern(arch, types(|i| (i + 1) % period == 0)),
                Ok(None),
                "{arch}"
            );
            assert_eq!(pattern(arch, json!({})), Ok(None), "{arch}");
        }
        for arch in ["laguna", "smallthinker"] {
            assert_eq!(pattern(arch, types(|i| i % 4 == 0)), Ok(None), "{arch}");
        }
        assert_eq!(pattern("gemma3", json!({"sliding_window_pattern": 6})), Ok(None));
    }

    #[test]
    fn other_layers_are_listed() {
        for arch in [
            "gemma2",
            "gemma3",
            "cohere2",
            "gpt-oss",
            "laguna",
            "gemma-embedding",
        ] {
            let found = pattern(arch, types(|i| i == 3 || i == 4)).unwrap();
            let expected: Vec<bool> = (0..8).map(|i| i != 3 && i != 4).collect();
            assert_eq!(found, Some(expected.into()), "{arch}");
        }
        let found = pattern("gemma3", json!({"_sliding_window_pattern": 3})).unwrap();
        let expected = vec![true, true, false, true, true, false, true, true];
        assert_eq!(found, Some(expected.into()));
    }

    #[test]
    fn what_the_graph_cannot_follow_is_refused() {
        let error = pattern("afmoe", types(|i| i == 0)).unwrap_err();
        assert!(
            error.contains("layer_types") && error.contains("layer is 0"),
            "{error}"
        );
        let layout = json!({"sliding_window_layout": [0, 1, 1, 1, 0, 1, 1, 1], "rope_layout": [1, 1, 1, 1, 1, 1, 1, 1]});
        let error = pattern("smallthinker", layout).unwrap_err();
        assert!(error.contains("rotates all layers but the first"), "{error}");
        for arch in ["smollm3", "llama4"] {
            let rotated = |flags: [u8; 8]| pattern(arch, json!({"no_rope_layers": flags}));
            assert_eq!(rotated([1, 1, 1, 0, 1, 1, 1, 0]), Ok(None), "{arch}");
            let error = rotated([1, 1, 0, 0, 1, 1, 1, 0]).unwrap_err();
            assert!(
                error.contains("no_rope_layers: expected 1 of layer 2") && error.ends_with("found 0"),
                "{error}"
            );
        }
        let error = pattern("gemma3", json!({"layer_types": ["full_attention"]})).unwrap_err();
        assert!(error.contains("each of 8 blocks, found 1"), "{error}");
    }

    #[test]
    fn a_window_that_no_graph_has_is_said() {
        let said = |arch: &str, config: Value| {
            let found = dropped(&hparams(&config), architecture(arch), &Metadata::new());
            found.is_some_and(|text| text.contains("sliding_window is 512") && text.contains(arch))
        };
        let of = |kind: &str| json!({"model_type": kind, "sliding_window": 512});
        assert!(said("llama", of("mistral")) && said("starcoder2", of("starcoder2")));
        // Qwen has the number in every configuration, and a switch.
        let qwen = |on: bool, first: u32| json!({"model_type": "qwen2", "sliding_window": 512, "use_sliding_window": on, "max_window_layers": first});
        assert!(
            said("qwen2", qwen(true, 4)) && !said("qwen2", qwen(false, 4)) && !said("qwen2", qwen(true, 8))
        );
        assert!(!said(
            "llama",
            json!({"model_type": "mistral", "sliding_window": 4096})
        ));
        assert!(!said(
            "llama",
            json!({"model_type": "mistral", "sliding_window": null})
        ));
        let mut all_full = types(|_| true);
        all_full["sliding_window"] = 512.into();
        all_full["model_type"] = "qwen3".into();
        assert!(!said("qwen3", all_full));
    }
}
