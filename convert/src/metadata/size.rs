//! Number of weights of a model, and the label made of it.

/// Weights of a model.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ParameterCount {
    /// All weights.
    pub(crate) total: u64,
    /// Weights outside of experts.
    shared: u64,
    /// Weights of one expert of every layer.
    expert: u64,
    /// Experts in a layer, averaged.
    experts: u64,
    /// Set for an adapter, whose weights tell little of the model's.
    pub(crate) adapter: bool,
}

impl ParameterCount {
    /// The total, negative for an adapter.
    pub(crate) fn signed(self) -> i64 {
        let total = i64::try_from(self.total).unwrap_or(i64::MAX);
        if self.adapter { -total } else { total }
    }

    /// Of an adapter that changes this many weights.
    pub(crate) fn of_adapter(total: u64) -> Self {
        Self {
            total,
            adapter: true,
            ..Self::default()
        }
    }

    /// Of tensors with these names and shapes.
    pub(crate) fn of<'a>(tensors: impl IntoIterator<Item = (&'a str, &'a [u64])>) -> Self {
        let mut count = Self::default();
        let (mut expert_sum, mut expert_tensors) = (0u64, 0u64);
        for (name, shape) in tensors {
            let size = shape.iter().fold(1u64, |n, &d| n.saturating_mul(d));
            let experts = shape.get(if name.contains(".bias") { 1 } else { 2 });
            match experts.filter(|&&n| n > 0 && shape.len() >= 3 && name.contains("_exps.")) {
                Some(&experts) => {
                    count.expert = count.expert.saturating_add(size / experts);
                    expert_sum = expert_sum.saturating_add(experts);
                    expert_tensors += 1;
                }
                None => count.shared = count.shared.saturating_add(size),
            }
            count.total = count.total.saturating_add(size);
            // The stock converter names no size beside adapters.
            count.adapter |= name.ends_with(".lora_a");
        }
        count.experts = expert_sum.checked_div(expert_tensors).unwrap_or(0);
        count
    }

    /// `general.size_label`, such as `135M` or `8x7B`.
    pub(crate) fn label(self) -> String {
        if self.experts > 0 {
            format!(
                "{}x{}",
                self.experts,
                rounded(self.shared.saturating_add(self.expert))
            )
        } else {
            rounded(self.total)
        }
    }
}

/// At least two digits and a unit.
fn rounded(count: u64) -> String {
    let count = count as f64;
    let (scaled, unit) = if count > 1e12 {
        (count * 1e-12, 'T')
    } else if count > 1e9 {
        (count * 1e-9, 'B')
    } else if count > 1e6 {
        (count * 1e-6, 'M')
    } else {
        (count * 1e-3, 'K')
    };
    let whole = format!("{scaled:.0}");
    let decimals = 2usize.saturating_sub(whole.trim_start_matches('0').len());
    format!("{scaled:.decimals$}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_have_two_digits() {
        for (count, label) in [
            (134_515_008, "135M"),
            (7_241_732_096, "7.2B"),
            (1_000_000_000, "1000M"),
            (999, "1.0K"),
            (120, "0.12K"),
            (9_960_000, "10M"),
        ] {
            assert_eq!(rounded(count), label);
        }
    }

    #[test]
    fn experts_count_once() {
        let count = ParameterCount::of([
            ("blk.0.ffn_up_exps.weight", &[100, 50, 8][..]),
            ("a.weight", &[100]),
        ]);
        assert_eq!(
            (count.total, count.shared, count.expert, count.experts),
            (40100, 100, 5000, 8)
        );
        assert_eq!(count.label(), "8x5.1K");
    }
}
