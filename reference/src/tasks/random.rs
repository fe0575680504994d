//! The random numbers by which llama-perplexity picks tasks: std::mt19937 as C++ defines it, and
//! std::uniform_int_distribution as GNU's library implements it.

const N: usize = 624;
const M: usize = 397;

/// The 32-bit Mersenne Twister of Matsumoto and Nishimura.
pub(super) struct Twister {
    state: [u32; N],
    next: usize,
}

impl Twister {
    pub(super) fn new(seed: u32) -> Self {
        let mut state = [seed; N];
        for i in 1..N {
            let before = state[i - 1];
            state[i] = 1_812_433_253u32
                .wrapping_mul(before ^ (before >> 30))
                .wrapping_add(i as u32);
        }
        Self { state, next: N }
    }

    pub(super) fn draw(&mut self) -> u32 {
        if self.next == N {
            for i in 0..N {
                let y = (self.state[i] & 0x8000_0000) | (self.state[(i + 1) % N] & 0x7fff_ffff);
                let odd = if y & 1 == 1 { 0x9908_b0df } else { 0 };
                self.state[i] = self.state[(i + M) % N] ^ (y >> 1) ^ odd;
            }
            self.next = 0;
        }
        let mut y = self.state[self.next];
        self.next += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c_5680;
        y ^= (y << 15) & 0xefc6_0000;
        y ^ (y >> 18)
    }

    /// A number below `count` (at least 1), each as likely: Lemire's multiplication with rejection.
    pub(super) fn below(&mut self, count: u32) -> u32 {
        let mut product = u64::from(self.draw()) * u64::from(count);
        let threshold = count.wrapping_neg() % count;
        while (product as u32) < threshold {
            product = u64::from(self.draw()) * u64::from(count);
        }
        (product >> 32) as u32
    }

    /// `count` different numbers below `of`, as Winogrande and multiple-choice tasks are picked: by a product
    /// in single precision, the last of those left taking the place of the one drawn.
    pub(super) fn pick(&mut self, count: usize, of: usize) -> Vec<usize> {
        let mut left: Vec<usize> = (0..of).collect();
        let scale = 1.0 / 4_294_967_296f32;
        let mut picked = Vec::new();
        while picked.len() < count && !left.is_empty() {
            let at = (scale * self.draw() as f32 * left.len() as f32) as usize;
            // A draw that single precision rounds up would lie past the end.
            picked.push(left.swap_remove(at.min(left.len() - 1)));
        }
        picked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The value that the C++ standard requires, and the beginning for the seed in use.
    #[test]
    fn equals_the_standard() {
        let mut twister = Twister::new(5489);
        let last = (0..10_000).map(|_| twister.draw()).last();
        assert_eq!(last, Some(4_123_659_995));
        assert_eq!(Twister::new(1).draw(), 1_791_095_845);
    }

    #[test]
    fn picks_are_different_and_within() {
        let mut picked = Twister::new(1).pick(50, 60);
        picked.sort_unstable();
        picked.dedup();
        assert_eq!(picked.len(), 50);
        assert!(picked.iter().all(|&i| i < 60));
        assert_eq!(Twister::new(1).pick(9, 3).len(), 3);
        let mut twister = Twister::new(1);
        assert!((0..100).all(|_| twister.below(7) < 7));
        assert_eq!(twister.below(1), 0);
    }
}
