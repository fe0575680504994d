use gguf::Metadata;

use super::*;

fn llama(layers: u32, heads: u32, kv_heads: u32, experts: u32) -> Hyperparameters {
    let mut m = Metadata::new();
    m.set("general.architecture", "llama");
    m.set("llama.block_count", layers);
    m.set("llama.attention.head_count", heads);
    m.set("llama.attention.head_count_kv", kv_heads);
    if experts > 0 {
        m.set("llama.expert_count", experts);
    }
    Hyperparameters::new(&m, &[]).unwrap()
}

/// The tensors of a llama-architecture model, in llama.cpp's order.
fn llama_tensors(
    layers: usize,
    width: u64,
    ffn: u64,
    kv_width: u64,
    vocabulary: u64,
    tied: bool,
) -> Vec<(String, Vec<u64>)> {
    let mut all = vec![
        ("token_embd.weight".to_owned(), vec![width, vocabulary]),
        ("output_norm.weight".to_owned(), vec![width]),
    ];
    if !tied {
        all.push(("output.weight".to_owned(), vec![width, vocabulary]));
    }
    for layer in 0..layers {
        for (name, shape) in [
            ("attn_norm", vec![width]),
            ("ffn_norm", vec![width]),
            ("attn_q", vec![width, width]),
            ("attn_k", vec![width, kv_width]),
            ("attn_v", vec![width, kv_width]),
            ("attn_output", vec![width, width]),
            ("ffn_gate", vec![width, ffn]),
            ("ffn_up", vec![width, ffn]),
            ("ffn_down", vec![ffn, width]),
        ] {
            all.push((format!("blk.{layer}.{name}.weight"), shape));
        }
    }
    all.sort_by(|a, b| by_layer(&a.0, &b.0));
    all
}

fn specs(tensors: &[(String, Vec<u64>)]) -> Vec<TensorSpec<'_>> {
    tensors
        .iter()
        .map(|(name, shape)| TensorSpec {
            name,
            shape,
            ty: if shape.len() < 2 {
                TensorType::F32
            } else {
                TensorType::F16
            },
        })
        .collect()
}

fn size(tensors: &[TensorSpec<'_>], recipe: &Recipe) -> u64 {
    tensors
        .iter()
        .zip(&recipe.assignments)
        .map(|(t, a)| a.ty.row_bytes(t.shape[0]).unwrap() * t.weights() / t.shape[0])
        .sum()
}

/// Published sizes of Mistral-7B quants, in GiB to two decimals.
#[test]
fn sizes_of_a_mistral_7b() {
    let model = llama(32, 32, 8, 0);
    let tensors = llama_tensors(32, 4096, 14336, 1024, 32000, false);
    let tensors = specs(&tensors);
    for (name, expected) in [
        ("Q2_K", "2.53"),
        ("IQ3_XS", "2.81"),
        ("IQ3_S", "2.96"),
        ("Q3_K_S", "2.95"),
        ("IQ3_M", "3.06"),
        ("Q3_K_M", "3.28"),
        ("Q3_K_L", "3.56"),
        ("IQ4_XS", "3.67"),
        ("Q4_0", "3.83"),
        ("IQ4_NL", "3.87"),
        ("Q4_K_S", "3.86"),
        ("Q4_K_M", "4.07"),
        ("Q4_1", "4.24"),
        ("Q5_0", "4.65"),
        ("Q5_K_S", "4.65"),
        ("Q5_K_M", "4.78"),
        ("Q5_1", "5.07"),
        ("Q6_K", "5.53"),
        ("Q8_0", "7.17"),
    ] {
        let options = RecipeOptions::new(Preset::parse(name).unwrap());
        let recipe = choose_types(&model, &tensors, &options).unwrap();
        let gib = size(&tensors, &recipe) as f64 / f64::from(1 << 30);
        assert_eq!(format!("{gib:.2}"), expected, "{name}");
        assert!(recipe.substituted.is_empty());
    }
}

#[test]
fn a_narrow_model_is_substituted_and_says_so() {
    let model = llama(30, 9, 3, 0);
    let tensors = llama_tensors(30, 576, 1536, 192, 49152, true);
    let tensors = specs(&tensors);
    let mut options = RecipeOptions::new(Preset::Q4_K_M);
    let recipe = choose_types(&model, &tensors, &options).unwrap();
    let head = &recipe.substituted[0];
    assert_eq!(head.tensor, "token_embd.weight");
    assert_eq!((head.wanted, head.got), (TensorType::Q6_K, TensorType::Q8_0));
    assert_eq!(head.weights, 576 * 49152);
    // Everything but ffn_down, whose rows are 1536 long: six matrices in each layer, and the head.
    assert_eq!(recipe.substituted.len(), 1 + 30 * 6);

    options.no_fallback = true;
    let error = choose_types(&model, &tensors, &options).unwrap_err();
    assert!(error.to_string().contains("token_embd.weight"), "{error}");
    assert!(error.to_string().contains("and 173 more"), "{error}");
}

#[test]
fn rules_override_and_must_match() {
    let model = llama(2, 8, 8, 0);
    let tensors = llama_tensors(2, 256, 512, 256, 300, false);
    let tensors = specs(&tensors);
    let mut options = RecipeOptions::new(Preset::Q4_K_M);
    options.tensor_types = vec![
        TensorTypeRule::parse("BLK\\.1\\.attn_(?!q)=q8_0").unwrap(),
        TensorTypeRule::parse("attn_v=F16").unwrap(),
    ];
    let recipe = choose_types(&model, &tensors, &options).unwrap();
    let of = |name: &str| {
        let at = tensors.iter().position(|t| t.name == name).unwrap();
        recipe.assignments[at].ty
    };
    assert_eq!(of("blk.1.attn_v.weight"), TensorType::Q8_0);
    assert_eq!(of("blk.0.attn_v.weight"), TensorType::F16);
    assert_eq!(of("blk.1.attn_norm.weight"), TensorType::F32);
    assert_eq!(recipe.overrides.len(), 4);
    assert!(recipe.overrides[0].reason.contains("attn_v"));

    options.tensor_types = vec![TensorTypeRule::parse("attn_qq=q8_0").unwrap()];
    let error = choose_types(&model, &tensors, &options).unwrap_err();
    assert!(error.to_string().contains("matches no tensor"), "{error}");
    for malformed in ["attn_q", "=q8_0", "attn_q=", "attn_q=q9", "(=q8_0"] {
        assert!(TensorTypeRule::parse(malformed).is_err(), "{malformed}");
    }
}

#[test]
fn experts_are_placed_by_name() {
    let model = llama(8, 32, 8, 8);
    let specs = [TensorSpec {
        name: "mtp.ffn_down_exps.weight",
        shape: &[256, 256, 8],
        ty: TensorType::F16,
    }];
    let options = RecipeOptions::new(Preset::Q4_K_M);
    let error = choose_types(&model, &specs, &options).unwrap_err();
    assert!(error.to_string().contains("expected a layer number"), "{error}");
}

#[test]
fn importance_is_demanded_by_tensor() {
    let model = llama(2, 8, 8, 0);
    let tensors = llama_tensors(2, 256, 512, 256, 300, false);
    let tensors = specs(&tensors);
    let needing = |preset| {
        let recipe = choose_types(&model, &tensors, &RecipeOptions::new(preset)).unwrap();
        recipe.assignments.iter().filter(|a| a.needs_importance).count()
    };
    assert_eq!(needing(Preset::Q2_K), 0);
    assert_eq!(needing(Preset::Q2_K_S), 14);
    assert_eq!(needing(Preset::IQ3_XXS), 8);
    assert_eq!(needing(Preset::IQ3_S), 0);
}

#[test]
fn a_model_without_layers_is_an_error_that_names_the_key() {
    let mut m = Metadata::new();
    m.set("general.architecture", "llama");
    let error = Hyperparameters::new(&m, &[]).unwrap_err();
    assert!(error.to_string().contains("llama.block_count"), "{error}");
}

/// The warnings of a Llama of one layer with these options.
fn warned(tied: bool, preset: Preset, rules: &[&str], change: impl Fn(&mut RecipeOptions)) -> Vec<String> {
    let tensors = llama_tensors(1, 256, 512, 256, 512, tied);
    let mut options = RecipeOptions::new(preset);
    options.tensor_types = rules.iter().map(|r| TensorTypeRule::parse(r).unwrap()).collect();
    change(&mut options);
    choose_types(&llama(1, 4, 4, 0), &specs(&tensors), &options)
        .unwrap()
        .warnings
}

#[test]
fn rules_that_decide_nothing_are_said_as_given() {
    let plain = |rules: &[&str]| warned(false, Preset::Q4_K_M, rules, |_| ());
    assert!(plain(&["attn_q=q8_0", "ffn_.*=q5_k", "blk=q6_k"]).is_empty());
    assert_eq!(
        plain(&["Attn_Norm=Q8_0"]),
        ["tensor type rule Attn_Norm=Q8_0 has no effect: blk.0.attn_norm.weight is never quantized"]
    );
    assert_eq!(
        plain(&["attn=q8_0", "attn_q=q4_0"]),
        ["tensor type rule attn_q=q4_0 has no effect: the earlier tensor type rule attn=q8_0 decides"]
    );
    // Also what is left of a rule by two reasons.
    assert_eq!(
        plain(&["attn_[qkvo]=q8_0", "attn=q4_0"]),
        [
            "tensor type rule attn=q4_0 has no effect: the earlier tensor type rule attn_[qkvo]=q8_0 decides; \
             blk.0.attn_norm.weight is never quantized"
        ]
    );
    let pinned = warned(
        false,
        Preset::Q4_K_M,
        &["^output.weight=q8_0", "token_embd=q8_0"],
        |o| {
            o.output_tensor_type = Some(TensorType::Q6_K);
            o.token_embedding_type = Some(TensorType::Q6_K);
        },
    );
    assert_eq!(
        pinned,
        [
            "tensor type rule ^output.weight=q8_0 has no effect: output_tensor_type decides output.weight",
            "tensor type rule token_embd=q8_0 has no effect: token_embedding_type decides token_embd.weight",
        ]
    );
    assert_eq!(
        warned(false, Preset::F16, &["attn_q=q8_0"], |_| ()),
        ["tensor type rule attn_q=q8_0 has no effect with preset F16"]
    );
}

#[test]
fn flags_that_decide_nothing_are_said() {
    let q6 = Some(TensorType::Q6_K);
    let both = |tied| {
        warned(tied, Preset::Q4_K_M, &[], |o| {
            (o.leave_output_tensor, o.output_tensor_type) = (true, q6);
        })
    };
    assert_eq!(
        both(false),
        ["output_tensor_type has no effect: leave_output_tensor keeps output.weight as it is"]
    );
    assert_eq!(
        both(true),
        ["leave_output_tensor has no effect: the model has no output.weight"]
    );
    let embedding = |o: &mut RecipeOptions| (o.output_tensor_type, o.token_embedding_type) = (q6, q6);
    assert!(warned(false, Preset::Q4_K_M, &[], embedding).is_empty());
    let tied = warned(true, Preset::Q4_K_M, &[], embedding);
    assert!(
        tied.len() == 1 && tied[0].contains("token_embedding_type decides it"),
        "{tied:?}"
    );
    let copy = warned(false, Preset::Copy, &["attn_q=q8_0"], |o| {
        embedding(o);
        (o.leave_output_tensor, o.pure) = (true, true);
    });
    assert_eq!(copy.len(), 5);
    assert_eq!(
        copy[0],
        "tensor type rule attn_q=q8_0 has no effect: preset COPY changes no types"
    );
}

#[test]
fn overrides() {
    let o = KvOverride::parse("a.b=int:-3").unwrap();
    assert_eq!((o.key.as_str(), o.value), ("a.b", Value::I64(-3)));
    let text = KvOverride::parse("a=str:x:y=z").unwrap();
    assert_eq!(text.value, Value::from("x:y=z"));
    for wrong in ["a", "a=1", "a=int:x", "a=bool:1", "=int:1"] {
        assert!(KvOverride::parse(wrong).is_err(), "{wrong:?}");
    }
}
