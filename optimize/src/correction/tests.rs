use super::*;
use crate::drawn::{brute, exact, inputs, lacking, numbers};
use crate::metric::{Damping, Metric};
use crate::moments::{Exact, Purpose};

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
    let (_, correction) = Metric::new(&moments, damping).unwrap();
    let rows = numbers(3 * n, 5);
    let targets = correction.targets(&rows, 0);
    let (y, x) = inputs(500, n, 77);
    for (w, target) in rows.chunks_exact(n).zip(targets.chunks_exact(n)) {
        let (before, after) = (brute(w, w, &y, &x, n), brute(w, target, &y, &x, n));
        assert!(after < 0.1 * before, "{after} {before}");
    }
    // With nothing to make up for, nothing moves.
    let mut moments = Moments::new(n, Purpose::Teaching);
    moments.add(&x, Some(exact(&x)));
    let (_, correction) = Metric::new(&moments, damping).unwrap();
    assert_eq!(correction.targets(&rows, 0), rows);
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
    let (_, correction) = Metric::new(&moments, damping).unwrap();
    let rows = numbers(2 * n, 5);
    let whole: Vec<f32> = rows.iter().zip(&of).map(|(w, of)| w + of).collect();
    let targets = correction.targets(&rows, 0);
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
    assert_eq!(correction.targets(&rows[n..], 1), targets[n..]);
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
        let (_, before) = Metric::new(&moments(Purpose::Teaching, 1, factor), Damping::default()).unwrap();
        let first = before.shift.as_ref().unwrap()[0];
        let after = before.proved_by(&judge).shift.unwrap();
        let off = |times: f32| {
            let errors: Vec<f32> = after.iter().map(|x| -times * x).collect();
            judge.rows(&vec![0.0; 2 * n], 0).squared(&errors)
        };
        let kept = after[0] / first;
        if kept > 0.0 && kept < 1.0 {
            assert!(off(1.0) < off(0.9) && off(1.0) < off(1.1));
        }
        assert!(off(1.0) <= off(0.0));
        kept
    };
    let (chance, signal) = (share(0.0), share(1.0));
    assert!(chance < 0.2 && signal > 0.8, "{chance} {signal}");
}
