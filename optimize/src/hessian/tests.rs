use super::*;

fn numbers(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    (0..count)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect()
}

/// Inputs of the unquantized model, and what errors of earlier layers make of them: all columns a little of the others.
fn inputs(tokens: usize, n: usize, seed: u32) -> (Vec<f32>, Vec<f32>) {
    let y = numbers(tokens * n, seed);
    let mixing = numbers(n * n, 3);
    let mut x = y.clone();
    for (x, y) in x.chunks_exact_mut(n).zip(y.chunks_exact(n)) {
        for (j, x) in x.iter_mut().enumerate() {
            *x += (0..n).map(|i| 0.1 * y[i] * mixing[i * n + j]).sum::<f32>();
        }
    }
    (y, x)
}

fn brute(w: &[f32], other: &[f32], y: &[f32], x: &[f32], n: usize) -> f64 {
    let tokens = y.chunks_exact(n).zip(x.chunks_exact(n));
    let count = y.len() / n;
    let sum: f64 = tokens
        .map(|(y, x)| {
            let off: f32 = (0..n).map(|i| w[i] * y[i] - other[i] * x[i]).sum();
            f64::from(off * off)
        })
        .sum();
    sum / count as f64
}

#[test]
fn judges_measure_the_distance_from_the_unquantized_output() {
    let n = 24;
    let (y, x) = inputs(300, n, 1);
    let mut moments = Moments::new(n, Purpose::Judging);
    for (x, y) in x.chunks(100 * n).zip(y.chunks(100 * n)) {
        moments.add(x, Some(y));
    }
    let judge = Judge::new(&moments).unwrap();
    let (w, other) = (numbers(n, 8), numbers(n, 9));
    let errors: Vec<f32> = w.iter().zip(&other).map(|(a, b)| a - b).collect();
    let (found, want) = (judge.rows(&w).squared(&errors), brute(&w, &other, &y, &x, n));
    assert!((found - want).abs() < 1e-4 * want, "{found} {want}");
    // Without the unquantized model's inputs, the distance from what the weights put out for these.
    let mut moments = Moments::new(n, Purpose::Judging);
    moments.add(&x, None);
    let found = Judge::new(&moments).unwrap().rows(&w).squared(&errors);
    let want = brute(&w, &other, &x, &x, n);
    assert!((found - want).abs() < 1e-4 * want, "{found} {want}");
}

#[test]
fn moved_weights_put_out_what_the_unquantized_model_does() {
    let n = 40;
    let (y, x) = inputs(4000, n, 1);
    let mut moments = Moments::new(n, Purpose::Teaching);
    moments.add(&x, Some(&y));
    let damping = Damping {
        shrink: 0.0,
        ridge: 1e-4,
    };
    let metric = Metric::new(&moments, damping).unwrap();
    let rows = numbers(3 * n, 5);
    let targets = metric.targets(&rows);
    let (y, x) = inputs(500, n, 77);
    for (w, target) in rows.chunks_exact(n).zip(targets.chunks_exact(n)) {
        let (before, after) = (brute(w, w, &y, &x, n), brute(w, target, &y, &x, n));
        assert!(after < 0.1 * before, "{after} {before}");
    }
    // With nothing to make up for, nothing moves.
    let mut moments = Moments::new(n, Purpose::Teaching);
    moments.add(&x, Some(&x));
    let metric = Metric::new(&moments, damping).unwrap();
    assert_eq!(metric.targets(&rows), rows);
}

#[test]
fn means_are_not_damped() {
    let n = 16;
    // Columns that vary a little around large means.
    let x: Vec<f32> = numbers(1000 * n, 4).iter().map(|x| 5.0 + 0.1 * x).collect();
    let mut moments = Moments::new(n, Purpose::Judging);
    moments.add(&x, None);
    let metric = Metric::new(&moments, Damping::default()).unwrap();
    let near = &metric.near_hessian[0];
    // In units of the columns' mean variance, which is a small difference of sums in f32: to 0.2 %.
    let column = |c: usize| x.iter().skip(c).step_by(n).map(|&x| f64::from(x));
    let mean = |c: usize| column(c).sum::<f64>() / 1000.0;
    let variance = |c: usize| column(c).map(|x| (x - mean(c)).powi(2)).sum::<f64>() / 1000.0;
    let unit = (0..n).map(variance).sum::<f64>() / n as f64;
    let (diagonal, off) = (f64::from(near[0]) * unit, f64::from(near[1]) * unit);
    assert!((off - mean(0) * mean(1)).abs() < 0.05, "{off}");
    let own = (diagonal - off) / unit - mean(0) * (mean(0) - mean(1)) / unit;
    assert!(own > 0.8 && own < 1.3, "{diagonal}: {own}");
}

#[test]
fn long_inputs_do_not_outweigh_all_others() {
    let n = 8;
    let mut x = numbers(100 * n, 4);
    x[..n].iter_mut().for_each(|x| *x *= 1000.0);
    let of = |purpose| {
        let mut moments = Moments::new(n, purpose);
        moments.add(&x, None);
        let means = moments.means().unwrap();
        (0..n).map(|i| means[i * n + i]).sum::<f32>()
    };
    let (teaching, judging) = (of(Purpose::Teaching), of(Purpose::Judging));
    assert!(judging > 100.0 * teaching, "{teaching} {judging}");
}
