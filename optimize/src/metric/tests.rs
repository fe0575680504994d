use super::*;
use crate::drawn::numbers;
use crate::moments::Purpose;

#[test]
fn means_are_not_damped() {
    let n = 16;
    // Columns that vary a little around large means.
    let x: Vec<f32> = numbers(1000 * n, 4).iter().map(|x| 5.0 + 0.1 * x).collect();
    let mut moments = Moments::new(n, Purpose::Judging);
    moments.add(&x, None);
    let (metric, _) = Metric::new(&moments, Damping::default()).unwrap();
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
