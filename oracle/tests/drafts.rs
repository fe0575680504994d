//! The expectations of draft models on the states of their targets, beside stock llama.cpp's logits of them.

use std::path::{Path, PathBuf};

use oracle::architectures::{self, Safetensors};
use oracle::forward::{apart, of_windows};
use oracle::python;
use reference::{Draft, Drafter, Model, PerplexityOptions, acceptance};
use serde_json::{Map, Value, json};

/// Fixtures of drafts, and the width of the target: that of the draft where this has no embeddings.
const EAGLE3: [(&str, u64); 6] = [
    ("eagle3", 64),
    ("eagle3-llama", 64),
    ("eagle3-speculator", 64),
    ("eagle3-draft", 80),
    ("eagle3-plain", 64),
    (WITHOUT_HEAD, 64),
];
/// The first of them without its own tokens.
const WITHOUT_HEAD: &str = "eagle3 without an output matrix";
/// How far our logits may be from stock's, relative to their root mean square.
const BOUND: f64 = 1e-4;

/// Windows of different lengths, one of them of the fewest tokens that a draft expects something after.
fn windows() -> Vec<Vec<u32>> {
    [24, 2, 11]
        .iter()
        .enumerate()
        .map(|(first, &len)| {
            (0..len)
                .map(|i| (i * 29 + i * i * 7 + 3 * first as u32) % 300)
                .collect()
        })
        .collect()
}

/// The file of a fixture, with the second halves of its layers or without.
fn made(fixture: &Value, name: &str, is_whole: bool, folder: &Path) -> PathBuf {
    let dir = folder.join(name).join("model");
    std::fs::create_dir_all(&dir).unwrap();
    architectures::make(fixture, &dir);
    if !is_whole {
        without_second_halves(&dir);
    }
    let file = folder.join(format!("{name}.gguf"));
    architectures::convert(&dir, &file, false).unwrap();
    file
}

/// Gives the target of a draft's fixture another width; its number of tokens.
fn widen_target(fixture: &mut Value, width: u64) -> Value {
    let target = &mut fixture["target"];
    let at = match target.get("text_config") {
        Some(_) => &mut target["text_config"],
        None => target,
    };
    at["hidden_size"] = width.into();
    at["vocab_size"].clone()
}

/// The target that a draft's fixture describes, of this width and with weights.
fn target(draft: &Value, width: u64, folder: &Path) -> PathBuf {
    let mut config = draft["target"].clone();
    if let Some(text) = config.get("text_config") {
        let mut text = text.clone();
        text["architectures"] = json!(["LlamaForCausalLM"]);
        text["model_type"] = "llama".into();
        config = text;
    }
    config["hidden_size"] = width.into();
    let size = |key: &str| config[key].as_u64().unwrap();
    let (inner, heads) = (size("intermediate_size"), size("num_attention_heads"));
    let head = config["head_dim"].as_u64().unwrap_or(width / heads);
    let (queries, keys) = (heads * head, size("num_key_value_heads") * head);
    let mut tensors = Map::new();
    let mut add = |name: String, shape: &[u64]| tensors.insert(name, json!(shape));
    for name in ["model.embed_tokens", "lm_head"] {
        add(format!("{name}.weight"), &[size("vocab_size"), width]);
    }
    add("model.norm.weight".to_owned(), &[width]);
    for layer in 0..size("num_hidden_layers") {
        for (name, shape) in [
            ("self_attn.q_proj", &[queries, width][..]),
            ("self_attn.k_proj", &[keys, width]),
            ("self_attn.v_proj", &[keys, width]),
            ("self_attn.o_proj", &[width, queries]),
            ("mlp.gate_proj", &[inner, width]),
            ("mlp.up_proj", &[inner, width]),
            ("mlp.down_proj", &[width, inner]),
            ("input_layernorm", &[width]),
            ("post_attention_layernorm", &[width]),
        ] {
            add(format!("model.layers.{layer}.{name}.weight"), shape);
        }
        if config["model_type"] == "qwen3" {
            for name in ["q_norm", "k_norm"] {
                add(format!("model.layers.{layer}.self_attn.{name}.weight"), &[head]);
            }
        }
    }
    let fixture = json!({"config": config, "tokenizer": draft["tokenizer"], "tensors": tensors});
    made(&fixture, "target", true, folder)
}

/// A draft, changed for a target of this width, and that target.
fn eagle3(name: &str, width: u64, folder: &Path) -> (PathBuf, PathBuf) {
    let mut fixture = architectures::fixture(name.split(' ').next().unwrap());
    if name == WITHOUT_HEAD {
        fixture["config"]["draft_vocab_size"] = fixture["config"]["vocab_size"].clone();
        let tensors = fixture["tensors"].as_object_mut().unwrap();
        tensors.retain(|name, _| !["lm_head.weight", "d2t", "t2d"].contains(&name.as_str()));
    }
    let hidden = fixture["tensors"]["fc.weight"][0].as_u64().unwrap();
    fixture["tensors"]["fc.weight"] = json!([hidden, 3 * width]);
    if fixture["config"]["target_hidden_size"].is_u64() {
        fixture["config"]["target_hidden_size"] = width.into();
    }
    if fixture["tensors"]["input_norm.weight"].is_array() {
        fixture["tensors"]["input_norm.weight"] = json!([3 * width]);
    }
    let tokens = widen_target(&mut fixture, width);
    if let Some(inner) = fixture["config"].get_mut("transformer_layer_config") {
        inner["vocab_size"] = tokens;
    }
    let target = target(&fixture, width, folder);
    (made(&fixture, "draft", true, folder), target)
}

/// Compares what a draft expects with stock's: the distance of our logits.
fn distance(dir: &Path, (draft, target): (PathBuf, PathBuf), place: &str) -> f64 {
    let windows = windows();
    let more = [target.to_str().unwrap(), place];
    let (expected, _) = of_windows("stock_draft.py", (dir, &draft), &windows, &more).unwrap();
    let (draft, target) = (Draft::load(&draft).unwrap(), Model::load(&target).unwrap());
    let views: Vec<&[u32]> = windows.iter().map(Vec::as_slice).collect();
    let got = draft
        .forward(&target.states_for(&draft, &views).unwrap())
        .unwrap();
    assert_eq!(got.rows, windows.iter().map(|w| w.len() - 1).sum::<usize>());
    assert_eq!(got.data.len(), expected.len());
    apart(&finite(&got.data), &expected)
}

/// Infinity stands for what is never predicted.
fn finite(logits: &[f32]) -> Vec<f32> {
    logits.iter().map(|x| x.max(f32::MIN)).collect()
}

#[test]
fn eagle3_expects_what_stock_expects() {
    if python().is_none() {
        return;
    }
    for (name, width) in EAGLE3 {
        let dir = tempfile::tempdir().unwrap();
        let far = distance(dir.path(), eagle3(name, width, dir.path()), "");
        println!("{name}: {far:.1e} from stock's");
        assert!(far < BOUND, "{name}: {far:.1e}");
    }
}

/// Sets the weights that lead out of the second halves of a directory's layers to zero.
fn without_second_halves(dir: &Path) {
    let (path, mut changed) = (dir.join("model.safetensors"), Safetensors::default());
    let all = Safetensors::read(&path);
    for name in all.names() {
        let (dtype, shape, bytes) = all.tensor(name).unwrap();
        let keep = !name.ends_with("mlp.down_proj.weight");
        changed.add(
            name,
            dtype,
            &shape,
            bytes.iter().map(|&b| if keep { b } else { 0 }),
        );
    }
    changed.write(&path);
}

/// An assistant and its target, of whose layers the last `shared` have the keys and values of earlier ones; both with the
/// second halves of their layers or without.
fn assistant(name: &str, shared: usize, is_whole: bool, folder: &Path) -> (PathBuf, PathBuf) {
    const LAYERS: usize = 4;
    let fixture = architectures::fixture(name);
    let draft = made(&fixture, "draft", is_whole, folder);
    let mut config = fixture["config"]["text_config"].clone();
    let width = fixture["config"]["backbone_hidden_size"].as_u64().unwrap();
    let size = |key: &str| config[key].as_u64().unwrap();
    let (inner, heads, kv) = (
        size("intermediate_size"),
        size("num_attention_heads"),
        size("num_key_value_heads"),
    );
    let mut tensors = Map::new();
    let mut add = |name: String, shape: &[u64]| tensors.insert(name, json!(shape));
    add(
        "model.embed_tokens.weight".to_owned(),
        &[size("vocab_size"), width],
    );
    add("model.norm.weight".to_owned(), &[width]);
    for layer in 0..LAYERS {
        let head = size(["head_dim", "global_head_dim"][layer % 2]);
        let at = |name: &str| format!("model.layers.{layer}.{name}");
        for norm in ["input", "post_attention", "pre_feedforward", "post_feedforward"] {
            add(at(&format!("{norm}_layernorm.weight")), &[width]);
        }
        add(at("layer_scalar"), &[1]);
        add(at("self_attn.q_norm.weight"), &[head]);
        add(at("self_attn.q_proj.weight"), &[heads * head, width]);
        add(at("self_attn.o_proj.weight"), &[width, heads * head]);
        if layer + shared < LAYERS {
            add(at("self_attn.k_norm.weight"), &[head]);
            add(at("self_attn.k_proj.weight"), &[kv * head, width]);
            add(at("self_attn.v_proj.weight"), &[kv * head, width]);
        }
        add(at("mlp.gate_proj.weight"), &[inner, width]);
        add(at("mlp.up_proj.weight"), &[inner, width]);
        add(at("mlp.down_proj.weight"), &[width, inner]);
    }
    config["architectures"] = json!(["Gemma4ForCausalLM"]);
    config["model_type"] = "gemma4_text".into();
    config["hidden_size"] = width.into();
    config["num_hidden_layers"] = LAYERS.into();
    config["num_kv_shared_layers"] = shared.into();
    config["layer_types"] = json!([
        "sliding_attention",
        "full_attention",
        "sliding_attention",
        "full_attention"
    ]);
    let fixture = json!({"config": config, "tokenizer": fixture["tokenizer"], "tensors": tensors});
    (draft, made(&fixture, "target", is_whole, folder))
}

#[test]
fn gemma4_assistants_expect_what_stock_expects() {
    if python().is_none() {
        return;
    }
    for (name, shared, is_whole, bound) in [
        ("gemma4-assistant", 0, false, BOUND),
        ("gemma4-assistant", 2, false, BOUND),
        // Stock looks GELU up in a table of half precision, in the target and in the draft. From a library built from
        // its sources without that table (`GGML_GELU_FP16`) both are less than 1e-5 away.
        ("gemma4-assistant", 0, true, 5e-3),
        ("gemma4-assistant-unified", 2, true, 5e-3),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let far = distance(dir.path(), assistant(name, shared, is_whole, dir.path()), "");
        println!("{name}, {shared} layers shared: {far:.1e} from stock's");
        assert!(far < bound, "{name}: {far:.1e}");
    }
}

/// Fixtures of drafts of blocks, the place of a block that predicts what comes after its known token, and how far our logits
/// may be from stock's.
const BLOCKS: [(&str, &str, f64); 11] = [
    // Stock's are the scores of its selector's candidates.
    ("dflash-2", "1", BOUND),
    ("dflash", "1", BOUND),
    ("dflash-pairs", "1", BOUND),
    ("dflash-muse", "1", BOUND),
    ("dspark", "0", BOUND),
    ("dspark-draft", "1", BOUND),
    ("dspark-lfm2", "1", BOUND),
    ("dspark-ling", "0", BOUND),
    ("dspark-speculator", "1", BOUND),
    // Stock looks GELU up in a table of half precision.
    ("dspark-gemma4", "0", 1e-3),
    ("dspark-gemma4-plain", "1", 1e-3),
];

/// A draft of blocks, and a target that is as wide.
fn blocks(name: &str, folder: &Path) -> (PathBuf, PathBuf) {
    let mut fixture = architectures::fixture(name);
    if name == SCALED.0 {
        // llama.cpp's sources scale by it, its prebuilt library does not.
        let config = fixture["config"]["dflash_config"].as_object_mut().unwrap();
        config.remove("attention_value_scale");
    }
    of_blocks(fixture, folder)
}

fn of_blocks(mut fixture: Value, folder: &Path) -> (PathBuf, PathBuf) {
    let width = fixture["tensors"]["norm.weight"][0].as_u64().unwrap();
    let tokens = widen_target(&mut fixture, width);
    if let Some(inner) = fixture["config"].get_mut("transformer_layer_config") {
        inner["vocab_size"] = tokens.clone();
        fixture["tensors"]["markov_head.markov_w1.weight"][0] = tokens;
    }
    let target = target(&fixture, width, folder);
    (made(&fixture, "draft", true, folder), target)
}

/// A draft of DeepSeek V4's layers, and a target: a model of these layers, too, or one with a state that is one. Weights are
/// plain numbers, since stock rounds what it multiplies with 4 bits.
fn deepseek4(of_copies: bool, folder: &Path) -> (PathBuf, PathBuf) {
    let mut fixture = architectures::fixture("dflash-deepseek4");
    let stored = fixture["stored"].take();
    let tensors = fixture["tensors"].as_object_mut().unwrap();
    tensors.retain(|name, _| !name.ends_with(".scale"));
    for (name, shape) in tensors.iter_mut() {
        if stored[name] == "I8" {
            shape[1] = (2 * shape[1].as_u64().unwrap()).into();
        }
    }
    fixture["config"]
        .as_object_mut()
        .unwrap()
        .remove("quantization_config");
    let target = match of_copies {
        true => made(&architectures::fixture("deepseek4-plain"), "target", true, folder),
        false => {
            let mut plain = fixture.clone();
            plain["target"] = json!({
                "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 64, "intermediate_size": 96,
                "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2, "rms_norm_eps": 1e-5,
                "max_position_embeddings": 256, "vocab_size": fixture["target"]["vocab_size"],
            });
            self::target(&plain, 64, folder)
        }
    };
    fixture["target"]
        .as_object_mut()
        .unwrap()
        .remove("quantization_config");
    (made(&fixture, "draft", true, folder), target)
}

#[test]
fn drafts_of_deepseek4_expect_what_stock_expects() {
    if python().is_none() {
        return;
    }
    for of_copies in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let far = distance(dir.path(), deepseek4(of_copies, dir.path()), "0");
        println!("DeepSeek V4, a target of copies {of_copies}: {far:.1e} from stock's");
        assert!(far < BOUND, "{of_copies}: {far:.1e}");
    }
}

#[test]
fn drafts_of_blocks_expect_what_stock_expects() {
    if python().is_none() {
        return;
    }
    let mut wrong = Vec::new();
    for (name, place, bound) in BLOCKS {
        let dir = tempfile::tempdir().unwrap();
        let far = distance(dir.path(), blocks(name, dir.path()), place);
        println!("{name}: {far:.1e} from stock's");
        if far.is_nan() || far > bound {
            wrong.push(name);
        }
    }
    assert!(wrong.is_empty(), "{wrong:?} are not stock's");
}

/// The fixture whose values are scaled, and the place of its first prediction.
const SCALED: (&str, &str) = ("dflash-2", "1");

/// The last rows that a library built from stock's sources computes of the fixture with the scale. Where ORACLE_LIBRARY names
/// the folder of one (py/architectures.py says how), all rows are compared with its; they stay in the file that QUANTSMITH_KEEP
/// names.
#[test]
fn values_are_scaled_as_by_stocks_sources() {
    const ROWS: usize = 2;
    let dir = tempfile::tempdir().unwrap();
    let (name, place) = SCALED;
    let (draft, target) = of_blocks(architectures::fixture(name), dir.path());
    let windows = windows();
    let views: Vec<&[u32]> = windows.iter().map(Vec::as_slice).collect();
    let loaded = Draft::load(&draft).unwrap();
    let model = Model::load(&target).unwrap();
    let states = model.states_for(&loaded, &views).unwrap();
    let got = loaded.forward(&states).unwrap();
    let (columns, got) = (got.data.len() / got.rows, finite(&got.data));
    let last = got.len() - ROWS * columns;
    if std::env::var_os("ORACLE_LIBRARY").is_some() && python().is_some() {
        let more = [target.to_str().unwrap(), place];
        let (all, _) = of_windows("stock_draft.py", (dir.path(), &draft), &windows, &more).unwrap();
        println!("{name}, scaled: {:.1e} from stock's", apart(&got, &all));
        assert!(apart(&got, &all) < BOUND);
        if let Some(keep) = std::env::var_os("QUANTSMITH_KEEP") {
            let bytes: Vec<u8> = all[last..].iter().flat_map(|x| x.to_le_bytes()).collect();
            std::fs::write(keep, bytes).unwrap();
        }
    }
    let kept = std::fs::read(architectures::fixtures().join("dflash-2.scaled")).unwrap();
    let kept: Vec<f32> = kept
        .as_chunks()
        .0
        .iter()
        .map(|b| f32::from_le_bytes(*b))
        .collect();
    assert_eq!(kept.len(), ROWS * columns);
    assert!(apart(&got[last..], &kept) < BOUND);
    // Without the scale it is another draft.
    let other = tempfile::tempdir().unwrap();
    let plain = Draft::load(&blocks(name, other.path()).0).unwrap();
    let plain = plain.forward(&states).unwrap();
    assert!(apart(&finite(&plain.data)[last..], &kept) > 1e-3);
}

/// Compares all tokens of the drafts at the ends of windows with those of stock, each behind what stock chooses: the largest
/// distance of our logits.
fn distance_of_places(dir: &Path, (draft, target): (PathBuf, PathBuf), place: &str) -> f64 {
    let windows = windows();
    let more = [target.to_str().unwrap(), &format!("-{place}")];
    let (expected, _) = of_windows("stock_draft.py", (dir, &draft), &windows, &more).unwrap();
    let (draft, target) = (Draft::load(&draft).unwrap(), Model::load(&target).unwrap());
    let places = draft.longest();
    let of_window = places * target.vocabulary();
    assert_eq!(expected.len(), windows.len() * of_window);
    let pairs = windows.iter().zip(expected.chunks_exact(of_window));
    let each = pairs.map(|(window, expected)| {
        let mut longer = window.clone();
        for row in expected.chunks_exact(target.vocabulary()) {
            let most = |&a: &usize, &b: &usize| row[a].total_cmp(&row[b]).then(b.cmp(&a));
            longer.push((0..row.len()).max_by(most).unwrap() as u32);
        }
        // What comes after the last is not compared.
        longer.pop();
        let states = target.states_for(&draft, &[&longer]).unwrap();
        let made = draft.forward_places(&states, places).unwrap();
        let rows = made.iter().flat_map(|made| made.row(window.len() - 2));
        apart(&finite(&rows.copied().collect::<Vec<_>>()), expected)
    });
    each.fold(0.0, f64::max)
}

#[test]
fn whole_drafts_of_blocks_are_stocks() {
    if python().is_none() {
        return;
    }
    let mut wrong = Vec::new();
    for (name, place, bound) in BLOCKS {
        let dir = tempfile::tempdir().unwrap();
        let far = distance_of_places(dir.path(), blocks(name, dir.path()), place);
        println!("{name}: all places {far:.1e} from stock's");
        if far.is_nan() || far > bound {
            wrong.push(name);
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let far = distance_of_places(dir.path(), deepseek4(true, dir.path()), "0");
    println!("DeepSeek V4: all places {far:.1e} from stock's");
    assert!(wrong.is_empty() && far < BOUND, "{wrong:?} are not stock's");
}

/// A draft and its target, opened.
fn pair(name: &str, width: u64) -> (tempfile::TempDir, Draft, Model) {
    let dir = tempfile::tempdir().unwrap();
    let (draft, target) = eagle3(name, width, dir.path());
    let (draft, target) = (Draft::load(&draft).unwrap(), Model::load(&target).unwrap());
    (dir, draft, target)
}

/// Nothing comes after the only token of a window, and windows do not see each other.
#[test]
fn windows_are_apart() {
    let (_dir, draft, target) = pair("eagle3-draft", 80);
    let all = windows();
    let views = [&all[0][..1], &all[0], &[], &all[2]];
    let expected = |views: &[&[u32]]| {
        let states = target.states_for(&draft, views).unwrap();
        draft.forward(&states).unwrap()
    };
    let together = expected(&views);
    assert_eq!(together.rows, all[0].len() + all[2].len() - 2);
    let alone = expected(&views[3..]);
    let last = &together.data[(all[0].len() - 1) * together.vocabulary..];
    assert!(apart(&finite(last), &finite(&alone.data)) < 1e-5);
    assert_eq!(expected(&views[..1]).rows, 0);
    // The target's own logits are those of a pass without a draft.
    let states = target.states_for(&draft, &views[3..]).unwrap();
    let own = target.forward(&views[3..], 0..usize::MAX, None).unwrap();
    assert_eq!(states.logits().unwrap(), own);
}

#[test]
fn a_draft_needs_its_target() {
    let (dir, draft, target) = pair("eagle3-draft", 80);
    let refused = Model::load(&dir.path().join("draft.gguf"))
        .unwrap_err()
        .to_string();
    assert!(
        refused.contains("\"eagle3\", a draft, which goes on"),
        "{refused}"
    );
    let refused = Draft::load(&dir.path().join("target.gguf"))
        .unwrap_err()
        .to_string();
    assert!(
        refused.contains("expected that of a draft (dflash, eagle3, gemma4-assistant), found \"llama\""),
        "{refused}"
    );
    let window: &[u32] = &[1, 2, 3];
    let (_other, narrow, small) = pair("eagle3", 64);
    let refused = small.states_for(&draft, &[window]).err().unwrap().to_string();
    assert!(
        refused.contains("the target: expected states of 80 numbers, found 64"),
        "{refused}"
    );
    let states = target.states_for(&draft, &[window]).unwrap();
    let refused = narrow.forward(&states).unwrap_err().to_string();
    assert!(
        refused.contains("expected states of 64 numbers, found 80"),
        "{refused}"
    );
}

/// The probabilities of a row of logits.
fn probabilities(logits: &[f32]) -> Vec<f64> {
    let sum: f64 = logits.iter().map(|&x| f64::from(x).exp()).sum();
    logits.iter().map(|&x| f64::from(x).exp() / sum).collect()
}

/// Acceptance of a draft by its target is that of what both predict of a text.
#[test]
fn acceptance_is_of_what_both_expect() {
    let (dir, draft, target) = pair("eagle3-draft", 80);
    let drafter = Drafter::load(&dir.path().join("draft.gguf")).unwrap();
    let tokens: Vec<u32> = (0..70).map(|i| (i * 29 + i * i * 6) % 200).collect();
    let options = PerplexityOptions::default().context(16).bos(Some(1));
    let mut seen = Vec::new();
    let report = acceptance(&drafter, &target, &tokens, &options, 1, &mut |done, all| {
        seen.push((done, all));
    })
    .unwrap();
    assert_eq!(seen, [(1, 4), (2, 4), (3, 4), (4, 4)]);
    let most = |row: &[f64]| {
        (0..row.len())
            .rev()
            .max_by(|&a, &b| row[a].total_cmp(&row[b]))
            .unwrap()
    };
    let (mut same, mut drawn, mut overlap) = (0.0, 0.0, 0.0);
    let (mut nll, mut lacking, mut of_target) = (0.0, 0, 0.0);
    for window in tokens.as_chunks::<16>().0 {
        let mut window = *window;
        window[0] = 1;
        let states = target.states_for(&draft, &[&window]).unwrap();
        let (p, q) = (states.logits().unwrap(), draft.forward(&states).unwrap());
        for at in 8..15 {
            let (p, q) = (probabilities(p.row(at)), probabilities(q.row(at - 1)));
            same += f64::from(u8::from(most(&p) == most(&q)));
            drawn += p[most(&q)];
            overlap += p.iter().zip(&q).map(|(a, b)| a.min(*b)).sum::<f64>();
            let token = window[at + 1] as usize;
            of_target -= p[token].ln();
            match q[token] > 0.0 {
                true => nll -= q[token].ln(),
                false => lacking += 1,
            }
        }
    }
    assert!(lacking > 0 && lacking < 28, "{lacking}");
    assert_eq!(
        (report.scored, report.unpredicted, report.windows),
        (28, lacking, 4)
    );
    let close = |a: f64, b: f64| {
        assert!((a - b).abs() < 1e-6 * b.abs().max(1.0), "{a} {b}");
    };
    let [first] = report.drafts[..] else {
        panic!("{:?}", report.drafts)
    };
    close(first.accepted.most_likely.value, same / 28.0);
    close(first.accepted.drawn.value, drawn / 28.0);
    close(first.accepted.rejection.value, overlap / 28.0);
    assert_eq!(first.accepted, first.whole);
    close(report.target_nll, of_target / 28.0);
    close(report.draft_nll.unwrap(), nll / f64::from(28 - lacking as u32));
    let options = options.max_memory(1000);
    let refused = |longest| {
        let refused = acceptance(&drafter, &target, &tokens, &options, longest, &mut |_, _| {});
        refused.unwrap_err().to_string()
    };
    let message = refused(2);
    assert!(
        message.contains("tokens of a draft: expected at most 1, as"),
        "{message}"
    );
    let message = refused(1);
    assert!(
        message.contains("with the logits of target and draft, found a bound of 1000"),
        "{message}"
    );
}
