//! Blocks equal ggml's, byte for byte, and decode to the same values, bit for bit.

use oracle::blocks::{Reference, compare, compare_random_blocks, encodable};
use oracle::rows::{HUGE, IMPORTANCE, WEIGHTS};

/// Few rows of every kind; `block-sweep` is the same with many.
#[test]
fn blocks_equal_ggml() {
    let Some(python) = oracle::python() else {
        return;
    };
    let mut reference = Reference::start(&python).unwrap();
    let mut failures = Vec::new();
    for ty in encodable() {
        let mut weights = 0;
        for (seed, kind) in (1..).zip(WEIGHTS) {
            let without = (!quants::requires_importance(ty)).then_some(None);
            for importance in without.into_iter().chain(IMPORTANCE.iter().map(Some)) {
                match compare(&mut reference, ty, 4, kind, importance, seed) {
                    Ok(tally) => weights += tally.weights,
                    // ggml itself aborts where a grid search loses itself in large weights.
                    Err(_)
                        if ty.name().starts_with("iq") && kind.name == "large" && reference.has_ended() =>
                    {
                        reference = Reference::start(&python).unwrap();
                    }
                    Err(e) => failures.push(format!("{e:#}")),
                }
            }
        }
        assert!(
            weights > 10_000 || !failures.is_empty(),
            "{ty}: only {weights} compared"
        );
        if let Err(e) = compare_random_blocks(&mut reference, ty, 300, 7) {
            failures.push(format!("{e:#}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// ggml's encoders that search a grid abort on such weights, so each type gets its own process.
#[test]
fn huge_weights_equal_ggml_where_it_survives() {
    let Some(python) = oracle::python() else {
        return;
    };
    let mut survived = 0;
    for ty in encodable().filter(|ty| !ty.name().starts_with("iq")) {
        let mut reference = Reference::start(&python).unwrap();
        for importance in [None, Some(&IMPORTANCE[0])] {
            let tally = compare(&mut reference, ty, 8, &HUGE, importance, 11).unwrap();
            survived += tally.weights;
        }
    }
    assert!(survived > 10_000);
}
