use super::*;
use crate::drawn::{brute, exact, inputs, lacking, numbers};
use crate::moments::{Exact, Purpose};

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
