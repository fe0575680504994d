//! The presets: names, file-type ids and the type each is built on.

use gguf::TensorType;

/// A named mixture of tensor types, as llama-quantize offers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(
    missing_docs,
    non_camel_case_types,
    reason = "the variants are the field's own names"
)]
#[non_exhaustive]
pub enum Preset {
    F32,
    F16,
    BF16,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q2_K,
    Q2_K_S,
    Q3_K_S,
    Q3_K_M,
    Q3_K_L,
    Q4_K_S,
    Q4_K_M,
    Q5_K_S,
    Q5_K_M,
    Q6_K,
    IQ1_S,
    IQ1_M,
    IQ2_XXS,
    IQ2_XS,
    IQ2_S,
    IQ2_M,
    IQ3_XXS,
    IQ3_XS,
    IQ3_S,
    IQ3_M,
    IQ4_NL,
    IQ4_XS,
    TQ1_0,
    TQ2_0,
    MXFP4_MOE,
    Q1_0,
    Q2_0,
    /// Copies every tensor unchanged.
    Copy,
}

/// One row of the preset table.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct PresetInfo {
    /// The preset this row describes.
    pub preset: Preset,
    /// The name as llama-quantize prints it and puts it into file names.
    pub name: &'static str,
    /// Another name for the same mixture.
    pub alias: Option<&'static str>,
    /// The number stored as `general.file_type` (llama.cpp's `llama_ftype`), which may also be
    /// typed instead of the name. [`Preset::Copy`] keeps the source's and has none.
    pub file_type: Option<u32>,
    /// The type that a tensor gets unless a rule says otherwise.
    pub base: TensorType,
    /// One line for `--help`.
    pub about: &'static str,
}

const fn row(
    preset: Preset,
    name: &'static str,
    file_type: u32,
    base: TensorType,
    about: &'static str,
) -> PresetInfo {
    PresetInfo {
        preset,
        name,
        alias: None,
        file_type: Some(file_type),
        base,
        about,
    }
}

const fn aliased(alias: &'static str, info: PresetInfo) -> PresetInfo {
    PresetInfo {
        alias: Some(alias),
        ..info
    }
}

/// Every preset. File-type ids and base types are those of llama.cpp.
pub const PRESETS: &[PresetInfo] = {
    use Preset as P;
    use TensorType as T;
    &[
        row(P::Q1_0, "Q1_0", 40, T::Q1_0, "1.125 bpw, sign and scale"),
        row(P::Q2_0, "Q2_0", 41, T::Q2_0, "2.25 bpw, groups of 64"),
        row(P::Q4_0, "Q4_0", 2, T::Q4_0, "4.5 bpw, legacy"),
        row(P::Q4_1, "Q4_1", 3, T::Q4_1, "5.0 bpw, legacy with minimum"),
        row(
            P::MXFP4_MOE,
            "MXFP4_MOE",
            38,
            T::MXFP4,
            "MXFP4 experts, the rest Q8_0",
        ),
        row(P::Q5_0, "Q5_0", 8, T::Q5_0, "5.5 bpw, legacy"),
        row(P::Q5_1, "Q5_1", 9, T::Q5_1, "6.0 bpw, legacy with minimum"),
        row(
            P::IQ2_XXS,
            "IQ2_XXS",
            19,
            T::IQ2_XXS,
            "2.06 bpw, needs an importance matrix",
        ),
        row(
            P::IQ2_XS,
            "IQ2_XS",
            20,
            T::IQ2_XS,
            "2.31 bpw, needs an importance matrix",
        ),
        // Built on IQ2_XS: the mixture lifts chosen tensors, the bulk stays there.
        row(
            P::IQ2_S,
            "IQ2_S",
            28,
            T::IQ2_XS,
            "2.5 bpw, needs an importance matrix",
        ),
        row(
            P::IQ2_M,
            "IQ2_M",
            29,
            T::IQ2_S,
            "2.7 bpw, needs an importance matrix",
        ),
        row(
            P::IQ1_S,
            "IQ1_S",
            24,
            T::IQ1_S,
            "1.56 bpw, needs an importance matrix",
        ),
        row(
            P::IQ1_M,
            "IQ1_M",
            31,
            T::IQ1_M,
            "1.75 bpw, needs an importance matrix",
        ),
        row(P::TQ1_0, "TQ1_0", 36, T::TQ1_0, "1.69 bpw, ternary"),
        row(P::TQ2_0, "TQ2_0", 37, T::TQ2_0, "2.06 bpw, ternary"),
        row(P::Q2_K, "Q2_K", 10, T::Q2_K, "2.6 bpw"),
        row(
            P::Q2_K_S,
            "Q2_K_S",
            21,
            T::Q2_K,
            "2.6 bpw, needs an importance matrix",
        ),
        row(
            P::IQ3_XXS,
            "IQ3_XXS",
            23,
            T::IQ3_XXS,
            "3.06 bpw, needs an importance matrix",
        ),
        row(P::IQ3_S, "IQ3_S", 26, T::IQ3_S, "3.44 bpw"),
        row(P::IQ3_M, "IQ3_M", 27, T::IQ3_S, "3.66 bpw, mixture"),
        row(P::IQ3_XS, "IQ3_XS", 22, T::IQ3_S, "3.3 bpw"),
        row(P::Q3_K_S, "Q3_K_S", 11, T::Q3_K, "3.4 bpw, small"),
        aliased("Q3_K", row(P::Q3_K_M, "Q3_K_M", 12, T::Q3_K, "3.7 bpw, medium")),
        row(P::Q3_K_L, "Q3_K_L", 13, T::Q3_K, "4.0 bpw, large"),
        row(P::IQ4_NL, "IQ4_NL", 25, T::IQ4_NL, "4.5 bpw, non-linear"),
        row(P::IQ4_XS, "IQ4_XS", 30, T::IQ4_XS, "4.25 bpw, non-linear"),
        row(P::Q4_K_S, "Q4_K_S", 14, T::Q4_K, "4.5 bpw, small"),
        aliased("Q4_K", row(P::Q4_K_M, "Q4_K_M", 15, T::Q4_K, "4.8 bpw, medium")),
        row(P::Q5_K_S, "Q5_K_S", 16, T::Q5_K, "5.5 bpw, small"),
        aliased("Q5_K", row(P::Q5_K_M, "Q5_K_M", 17, T::Q5_K, "5.7 bpw, medium")),
        row(P::Q6_K, "Q6_K", 18, T::Q6_K, "6.6 bpw"),
        row(P::Q8_0, "Q8_0", 7, T::Q8_0, "8.5 bpw"),
        row(P::F16, "F16", 1, T::F16, "half precision"),
        row(P::BF16, "BF16", 32, T::BF16, "bfloat16"),
        row(P::F32, "F32", 0, T::F32, "single precision"),
        PresetInfo {
            preset: P::Copy,
            name: "COPY",
            alias: None,
            file_type: None,
            base: T::F32,
            about: "copy every tensor unchanged",
        },
    ]
};

/// Message for a name that is no preset: the nearest ones, and all of them.
pub fn unknown_preset(text: &str) -> String {
    let names = || {
        PRESETS
            .iter()
            .flat_map(|p| std::iter::once(p.name).chain(p.alias))
    };
    let plain = |name: &str| name.to_uppercase().replace(['-', '_', '.', ' '], "");
    let wanted = plain(&text.chars().take(64).collect::<String>());
    let mut near: Vec<(usize, &str)> = names()
        .map(|name| (distance(&wanted, &plain(name)), name))
        .collect();
    near.sort_by_key(|&(far, _)| far);
    // As many letters wrong as a slip makes.
    let near: Vec<&str> = near
        .iter()
        .take(3)
        .filter(|&&(far, _)| far <= 2)
        .map(|&(_, name)| name)
        .collect();
    let near = match near.is_empty() {
        true => String::new(),
        false => format!("; nearest: {}", near.join(", ")),
    };
    let all: Vec<&str> = PRESETS.iter().map(|p| p.name).collect();
    format!("{text:?} is no preset{near}; the presets are: {}", all.join(", "))
}

/// Letters to insert, take out or change (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let changed = corner + usize::from(x != y);
            corner = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(corner + 1);
        }
    }
    row[b.len()]
}

impl Preset {
    /// The preset of this name, alias or file-type number; case does not matter.
    pub fn parse(text: &str) -> Option<Self> {
        let named = |name: &str| name.eq_ignore_ascii_case(text);
        PRESETS
            .iter()
            .find(|p| named(p.name) || p.alias.is_some_and(named))
            .or_else(|| {
                let id = text.parse().ok()?;
                PRESETS.iter().find(|p| p.file_type == Some(id))
            })
            .map(|p| p.preset)
    }

    /// This preset's row of the table.
    pub fn info(self) -> &'static PresetInfo {
        // The table is total over the enum: `every_preset_has_a_row` proves it.
        PRESETS.iter().find(|p| p.preset == self).unwrap_or(&PRESETS[0])
    }

    /// The name as llama-quantize prints it.
    pub fn name(self) -> &'static str {
        self.info().name
    }

    /// The type that a tensor gets unless a rule says otherwise.
    pub fn base(self) -> TensorType {
        self.info().base
    }
}

impl std::fmt::Display for Preset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_presets_have_neighbours() {
        let said = unknown_preset("Q4KM");
        assert!(
            said.starts_with("\"Q4KM\" is no preset; nearest: Q4_K_M, "),
            "{said}"
        );
        assert!(
            said.contains("; the presets are: ") && said.contains("IQ2_XXS"),
            "{said}"
        );
        assert!(
            unknown_preset("q5_k_n").contains("nearest: Q5_K"),
            "{}",
            unknown_preset("q5_k_n")
        );
        assert!(!unknown_preset("banana").contains("nearest"));
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
    }

    #[test]
    fn every_preset_has_a_row() {
        assert_eq!(PRESETS.len(), Preset::Copy as usize + 1);
        for info in PRESETS {
            assert_eq!(info.preset.info().name, info.name);
            assert_eq!(Preset::parse(&info.name.to_lowercase()), Some(info.preset));
            if let Some(id) = info.file_type {
                assert_eq!(Preset::parse(&id.to_string()), Some(info.preset));
            }
        }
    }

    #[test]
    fn aliases_and_unknown_names() {
        assert_eq!(Preset::parse("q4_k"), Some(Preset::Q4_K_M));
        assert_eq!(Preset::parse("Q3_K"), Some(Preset::Q3_K_M));
        assert_eq!(Preset::parse("5"), None);
        assert_eq!(Preset::parse("Q9_K"), None);
    }
}
