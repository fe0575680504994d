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

fn exact(rows: &[f32]) -> Exact<'_> {
    Exact { rows, lack: None }
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
        moments.add(x, Some(exact(y)));
    }
    let judge = Judge::new(&moments).unwrap();
    let (w, other) = (numbers(n, 8), numbers(n, 9));
    let errors: Vec<f32> = w.iter().zip(&other).map(|(a, b)| a - b).collect();
    let (found, want) = (judge.rows(&w, 0).squared(&errors), brute(&w, &other, &y, &x, n));
    assert!((found - want).abs() < 1e-4 * want, "{found} {want}");
    // Without the unquantized model's inputs, the distance from what the weights put out for these.
    let mut moments = Moments::new(n, Purpose::Judging);
    moments.add(&x, None);
    let found = Judge::new(&moments).unwrap().rows(&w, 0).squared(&errors);
    let want = brute(&w, &other, &x, &x, n);
    assert!((found - want).abs() < 1e-4 * want, "{found} {want}");
}

#[test]
fn moved_weights_put_out_what_the_unquantized_model_does() {
    let n = 40;
    let (y, x) = inputs(4000, n, 1);
    let mut moments = Moments::new(n, Purpose::Teaching);
    moments.add(&x, Some(exact(&y)));
    let damping = Damping {
        shrink: 0.0,
        ridge: 1e-4,
    };
    let metric = Metric::new(&moments, damping).unwrap();
    let rows = numbers(3 * n, 5);
    let targets = metric.targets(&rows, 0);
    let (y, x) = inputs(500, n, 77);
    for (w, target) in rows.chunks_exact(n).zip(targets.chunks_exact(n)) {
        let (before, after) = (brute(w, w, &y, &x, n), brute(w, target, &y, &x, n));
        assert!(after < 0.1 * before, "{after} {before}");
    }
    // With nothing to make up for, nothing moves.
    let mut moments = Moments::new(n, Purpose::Teaching);
    moments.add(&x, Some(exact(&x)));
    let metric = Metric::new(&moments, damping).unwrap();
    assert_eq!(metric.targets(&rows, 0), rows);
}

/// Lacks of the state, of two outputs: inputs of the unquantized model times `of`, and a little besides.
fn lacking(y: &[f32], of: &[f32], n: usize) -> Vec<f32> {
    let besides = numbers(y.len() / n * 2, 21);
    y.chunks_exact(n)
        .zip(besides.chunks_exact(2))
        .flat_map(|(y, besides)| {
            let made = of.chunks_exact(n).map(|of| sum_of_products(of, y) as f32);
            made.zip(besides).map(|(s, b)| s + 0.1 * b)
        })
        .collect()
}

#[test]
fn judges_count_what_the_state_lacks() {
    let n = 24;
    let (y, x) = inputs(300, n, 1);
    let s = lacking(&y, &numbers(2 * n, 6), n);
    let mut moments = Moments::new(n, Purpose::Judging);
    for ((x, y), s) in x.chunks(100 * n).zip(y.chunks(100 * n)).zip(s.chunks(100 * 2)) {
        let exact = Exact {
            rows: y,
            lack: Some(s),
        };
        moments.add(x, Some(exact));
    }
    let judge = Judge::new(&moments).unwrap();
    let (w, other) = (numbers(2 * n, 8), numbers(2 * n, 9));
    let want: Vec<f64> = (0..2)
        .map(|r| {
            let (w, other) = (&w[r * n..][..n], &other[r * n..][..n]);
            let tokens = y.chunks_exact(n).zip(x.chunks_exact(n)).zip(s.chunks_exact(2));
            let squares =
                tokens.map(|((y, x), s)| sum_of_products(w, y) + f64::from(s[r]) - sum_of_products(other, x));
            squares.map(|off| off * off).sum::<f64>() / 300.0
        })
        .collect();
    let errors: Vec<f32> = w.iter().zip(&other).map(|(a, b)| a - b).collect();
    let found = judge.rows(&w, 0).squared(&errors);
    assert!(
        (found - want[0] - want[1]).abs() < 1e-4 * found,
        "{found} {want:?}"
    );
    let found = judge.rows(&w[n..], 1).squared(&errors[n..]);
    assert!((found - want[1]).abs() < 1e-4 * found, "{found} {want:?}");
}

#[test]
fn moved_weights_make_up_for_what_the_state_lacks() {
    let n = 40;
    let of = numbers(2 * n, 6);
    let (y, x) = inputs(4000, n, 1);
    let mut moments = Moments::new(n, Purpose::Teaching);
    let exact = Exact {
        rows: &y,
        lack: Some(&lacking(&y, &of, n)),
    };
    moments.add(&x, Some(exact));
    let damping = Damping {
        shrink: 0.0,
        ridge: 1e-4,
    };
    let metric = Metric::new(&moments, damping).unwrap();
    let rows = numbers(2 * n, 5);
    let whole: Vec<f32> = rows.iter().zip(&of).map(|(w, of)| w + of).collect();
    let targets = metric.targets(&rows, 0);
    let (y, x) = inputs(500, n, 77);
    for r in 0..2 {
        let row = |rows: &[f32]| rows[r * n..][..n].to_vec();
        // The state gets w y and what it lacks, but for what no input says.
        let (before, after) = (
            brute(&row(&whole), &row(&rows), &y, &x, n),
            brute(&row(&whole), &row(&targets), &y, &x, n),
        );
        assert!(after < 0.1 * before, "{after} {before}");
    }
    // Rows of the matrix from the second on.
    assert_eq!(metric.targets(&rows[n..], 1), targets[n..]);
}

#[test]
fn shifts_by_chance_are_taken_back() {
    let n = 40;
    let of = numbers(2 * n, 6);
    // Of so few tokens, and what the state lacks having hardly anything to do with inputs.
    let moments = |purpose, seed: u32, factor: f32| {
        let (y, x) = inputs(n + 20, n, seed);
        let made = lacking(&y, &of, n);
        let noise = numbers(made.len(), seed + 9);
        let lack: Vec<f32> = made
            .iter()
            .zip(&noise)
            .map(|(s, noise)| factor * s + (1.0 - factor) * 4.0 * noise)
            .collect();
        let mut moments = Moments::new(n, purpose);
        let exact = Exact {
            rows: &y,
            lack: Some(&lack),
        };
        moments.add(&x, Some(exact));
        moments
    };
    // How much of the shift stays, and whether what is off on the inputs that judge is the least of all multiples.
    let share = |factor: f32| {
        let judging = moments(Purpose::Judging, 50, factor);
        let judge = Judge::new(&judging).unwrap();
        let metric = Metric::new(&moments(Purpose::Teaching, 1, factor), Damping::default()).unwrap();
        let before = metric.shift.clone().unwrap();
        let after = metric.proved_by(&judge).shift.unwrap();
        let off = |times: f32| {
            let errors: Vec<f32> = after.iter().map(|x| -times * x).collect();
            judge.rows(&vec![0.0; 2 * n], 0).squared(&errors)
        };
        let kept = after[0] / before[0];
        if kept > 0.0 && kept < 1.0 {
            assert!(off(1.0) < off(0.9) && off(1.0) < off(1.1));
        }
        assert!(off(1.0) <= off(0.0));
        kept
    };
    let (chance, signal) = (share(0.0), share(1.0));
    assert!(chance < 0.2 && signal > 0.8, "{chance} {signal}");
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
