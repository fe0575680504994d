//! Numbers on their way: gradient descent by shares of what they were at the start, so that one rate fits all.

/// Decay of the means of gradients and of their squares (Kingma and Ba, 2015).
const FIRST: f32 = 0.9;
const SECOND: f32 = 0.95;
/// The least number that a gradient is compared with. Gradients are of nats a token.
const LEAST: f32 = 1e-12;

/// Numbers `start * (1 + offset)`.
#[derive(Clone, Debug)]
pub(super) struct Moving {
    pub(super) start: Vec<f32>,
    offsets: Vec<f32>,
    /// Decaying means of gradients with respect to the offsets, and of their squares.
    means: Vec<f32>,
    squares: Vec<f32>,
    /// The gradient with respect to the offsets so far.
    pub(super) gradient: Vec<f32>,
    best: Vec<f32>,
}

/// A step of all numbers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    rate: f32,
    /// The correction of means that began at zero.
    means: f32,
    squares: f32,
}

/// The sequence of steps.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schedule {
    rate: f32,
    steps: usize,
    done: usize,
    /// Powers of the decays.
    left: (f32, f32),
}

impl Schedule {
    pub(super) fn new(rate: f32, steps: usize) -> Self {
        Self {
            rate,
            steps,
            done: 0,
            left: (1.0, 1.0),
        }
    }

    /// The next step. The rate rises over a twentieth of the steps, then falls to zero along a curve that is within a
    /// hundredth of a cosine's and has the same bits everywhere.
    pub(super) fn next(&mut self) -> Step {
        let rising = self.steps.div_ceil(20);
        let at = (self.done as f32 + 0.5) / self.steps as f32;
        let rise = ((self.done + 1) as f32 / rising as f32).min(1.0);
        let fall = 1.0 - at * at * (3.0 - 2.0 * at);
        self.done += 1;
        self.left = (self.left.0 * FIRST, self.left.1 * SECOND);
        Step {
            rate: self.rate * rise * fall,
            means: 1.0 / (1.0 - self.left.0),
            squares: 1.0 / (1.0 - self.left.1),
        }
    }
}

impl Schedule {
    /// Halves the steps that are left.
    pub(super) fn slow_down(&mut self) {
        self.rate /= 2.0;
    }
}

impl Moving {
    /// Bytes that a number takes.
    pub(super) const BYTES: u64 = 6 * size_of::<f32>() as u64;

    pub(super) fn new(start: Vec<f32>) -> Self {
        let zeros = vec![0.0; start.len()];
        Self {
            offsets: zeros.clone(),
            means: zeros.clone(),
            squares: zeros.clone(),
            gradient: zeros.clone(),
            best: zeros,
            start,
        }
    }

    /// The numbers as they are now.
    pub(super) fn values(&self) -> impl Iterator<Item = f32> {
        self.start.iter().zip(&self.offsets).map(|(x, o)| x + x * o)
    }

    /// Takes a step against the gradient, which is forgotten.
    pub(super) fn step(&mut self, step: Step) {
        let moments = self.means.iter_mut().zip(&mut self.squares);
        let numbers = self.offsets.iter_mut().zip(&mut self.gradient);
        for ((mean, square), (offset, gradient)) in moments.zip(numbers) {
            let g = std::mem::take(gradient);
            *mean = FIRST * *mean + (1.0 - FIRST) * g;
            *square = SECOND * *square + (1.0 - SECOND) * (g * g);
            *offset -= step.rate * (*mean * step.means) / ((*square * step.squares).sqrt() + LEAST);
        }
    }

    /// Remembers the numbers as they are.
    pub(super) fn keep(&mut self) {
        self.best.copy_from_slice(&self.offsets);
    }

    /// Goes back to what was remembered last, to the start where nothing was, and stands still there.
    pub(super) fn go_back(&mut self) {
        self.offsets.copy_from_slice(&self.best);
        self.means.fill(0.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_go_to_where_their_gradients_vanish() {
        // Half the squares of the distances from 1.1, -2.2 and 0; zero cannot move.
        let mut moving = Moving::new(vec![1.0, -2.0, 0.0]);
        let wanted = [1.1f32, -2.2, 0.5];
        let mut schedule = Schedule::new(0.01, 200);
        for _ in 0..200 {
            let now: Vec<f32> = moving.values().collect();
            for i in 0..3 {
                moving.gradient[i] = (now[i] - wanted[i]) * moving.start[i];
            }
            moving.step(schedule.next());
        }
        let end: Vec<f32> = moving.values().collect();
        assert!(
            (end[0] - 1.1).abs() < 2e-3 && (end[1] + 2.2).abs() < 4e-3,
            "{end:?}"
        );
        assert_eq!(end[2], 0.0);
        moving.go_back();
        assert_eq!(moving.values().collect::<Vec<_>>(), [1.0, -2.0, 0.0]);
    }

    #[test]
    fn rates_rise_and_fall_to_zero() {
        let mut schedule = Schedule::new(1.0, 100);
        let rates: Vec<f32> = (0..100).map(|_| schedule.next().rate).collect();
        assert!(rates[0] < 0.3 && rates[4] > 0.98 && rates[99] < 1e-3, "{rates:?}");
        assert!((rates[49] - 0.5).abs() < 0.02);
    }
}
