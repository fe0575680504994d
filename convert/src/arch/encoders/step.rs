//! The image encoder of Step3-VL and Step 3.7.

use serde_json::{Value, json};

use super::keys::{epsilon, preprocessor, vision_keys_by};
use super::{ENCODER, HOOKS, convolution, names, short_or_exact};
use crate::Result;
use crate::arch::rules::names::{Rule, copy, exact};
use crate::arch::{Architecture, Hooks, Hparams, Keys, class};

pub(super) static STEP_VL: Architecture = Architecture {
    classes: &[
        class("StepVLForConditionalGeneration"),
        class("Step3p7ForConditionalGeneration"),
    ],
    rules: &[RULES, names::VISION],
    hyperparameters,
    hooks: Hooks {
        prepare: |config| {
            let number = |key: &str| config.get(key).and_then(Value::as_f64).filter(|&x| x > 0.0);
            let width = number("hidden_size").or_else(|| number("width"));
            let ratio = number("mlp_ratio").unwrap_or(MLP_RATIO);
            if let Some(width) = width.filter(|_| number("intermediate_size").is_none()) {
                let inner = (width * ratio).round_ties_even() as u64;
                config.insert("intermediate_size".to_owned(), inner.into());
            }
        },
        canonical,
        force: |_, name, ty| {
            let is_projector = ["mm.0.weight", "mm.1.weight"].contains(&name.gguf);
            match is_projector {
                true => Some(short_or_exact(ty)),
                false => convolution(name, ty),
            }
        },
        ..HOOKS
    },
    ..ENCODER
};

/// Inner width by width where the configuration does not say.
const MLP_RATIO: f64 = 8960.0 / 1536.0;

const RULES: &[Rule] = &[
    copy("vision_model.vit_downsampler1", "mm.0"),
    copy("vision_model.vit_downsampler2", "mm.1"),
    exact("vit_large_projector.weight", "mm.model.fc.weight"),
];

fn canonical(_: &Hparams, name: String) -> Option<String> {
    if name == "vit_large_projector.weight" {
        return Some(name);
    }
    if !name.starts_with("vision_model.") {
        return None;
    }
    if name == "vision_model.positional_embedding" {
        return Some(name + ".weight");
    }
    if let Some(scale) = name.strip_suffix(".gamma").filter(|n| n.contains(".ls_")) {
        return Some(format!("{scale}.weight"));
    }
    Some(name.replace("attn.in_proj_", "attn.in_proj."))
}

/// The only numbers that llama.cpp's graph is known to be right for: of the whole model and of the encoder.
const STRIDE: (&str, u32) = ("understand_projector_stride", 2);
const NUMBERS: [(&[&str], u32); 3] = [
    (&["image_size"], 728),
    (&["hidden_size", "width"], 1536),
    (&["num_hidden_layers", "layers"], 47),
];
/// Longest side of an image, which is in the code of the model.
const LONGEST_SIDE: u32 = 3024;

fn hyperparameters(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    let mut processor = preprocessor(keys.dir)?;
    let means = [
        ("image_mean", json!([0.48145466, 0.4578275, 0.40821073])),
        ("image_std", json!([0.26862954, 0.26130258, 0.27577711])),
    ];
    for (key, numbers) in means {
        processor.entry(key).or_insert(numbers);
    }
    vision_keys_by(hp, keys, &processor)?;
    let (stride, whole) = (STRIDE.1, [(&[STRIDE.0] as &[&str], STRIDE.1)]);
    let checks = whole.iter().map(|c| (hp.whole(), c));
    for (of, (names, expected)) in checks.chain(NUMBERS.iter().map(|c| (hp, c))) {
        let found = of.u32(names)?;
        if found != *expected {
            return Err(hp.error(format!(
                "{} is {found}, {expected} expected, as llama.cpp's graph has it",
                names[0]
            )));
        }
    }
    keys.set("projector_type", "step3vl");
    epsilon(hp, keys, "layer_norm_eps", 1e-5)?;
    keys.set("vision.projector.scale_factor", stride * stride);
    keys.set("vision.preproc_image_size", LONGEST_SIDE);
    Ok(())
}
