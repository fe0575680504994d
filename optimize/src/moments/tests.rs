use super::*;
use crate::drawn::numbers;

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
