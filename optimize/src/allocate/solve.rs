//! The choice of one option for each tensor with the least loss that fits into a number of bytes: a knapsack of
//! classes.
//!
//! The relaxed problem (losses on the lower convex hull of each tensor's options) gives a price of a byte and a bound.
//! At that price every option has a penalty, and an option whose penalty is more than what the best known choice loses
//! against the bound cannot be part of a better one. What is left is few, and is searched exhaustively, by lists of
//! states of which none is both larger and worse than another (after Pisinger, "A minimal algorithm for the
//! multiple-choice knapsack problem", 1995).

/// Bytes and loss of one option.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cost {
    /// Bytes in the file.
    pub bytes: u64,
    /// Loss; not negative and finite.
    pub loss: f64,
}

/// A choice of one option for each tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct Solution {
    /// Index of each tensor's option.
    pub chosen: Vec<usize>,
    /// Bytes of all.
    pub bytes: u64,
    /// Loss of all.
    pub loss: f64,
    /// No choice that fits loses less than this. The loss itself where the choice is proven to be the best.
    pub bound: f64,
}

/// Fewest and most bytes of any choice; `None` where a tensor has no option.
pub fn range(tensors: &[Vec<Cost>]) -> Option<(u64, u64)> {
    let (mut least, mut most) = (0u64, 0u64);
    for options in tensors {
        let bytes = options.iter().map(|o| o.bytes);
        least = least.saturating_add(bytes.clone().min()?);
        most = most.saturating_add(bytes.max()?);
    }
    Some((least, most))
}

/// States of the search at most. More than these are never needed where tensors of a model repeat their shapes; beyond
/// them the choice may not be the best one, and its bound says by how much at most.
const MAX_STATES: usize = 4096;

/// The choice with the least loss in at most `budget` bytes; `None` where nothing fits.
pub fn solve(tensors: &[Vec<Cost>], budget: u64) -> Option<Solution> {
    let tensors: Vec<Class> = tensors.iter().map(|options| Class::new(options)).collect();
    let relaxed = Relaxed::new(&tensors, budget)?;
    Some(Search::new(&tensors, &relaxed, budget).run())
}

/// A tensor's options that are not both larger and worse than another, by growing size.
struct Class {
    options: Vec<(usize, Cost)>,
    /// Those of them on the lower convex hull.
    hull: Vec<usize>,
}

impl Class {
    fn new(costs: &[Cost]) -> Self {
        let mut sorted: Vec<(usize, Cost)> = costs.iter().copied().enumerate().collect();
        sorted.retain(|(_, cost)| cost.loss.is_finite());
        sorted.sort_by(|(_, a), (_, b)| {
            (a.bytes, a.loss)
                .partial_cmp(&(b.bytes, b.loss))
                .unwrap_or(std::cmp::Ordering::Equal)
        });
        let mut options: Vec<(usize, Cost)> = Vec::new();
        for option in sorted {
            if options.last().is_none_or(|(_, last)| option.1.loss < last.loss) {
                options.push(option);
            }
        }
        let mut hull: Vec<usize> = Vec::new();
        for (next, (_, cost)) in options.iter().enumerate() {
            while let [.., a, b] = hull[..] {
                let (a, b) = (options[a].1, options[b].1);
                if slope(a, b) > slope(b, *cost) {
                    break;
                }
                hull.pop();
            }
            hull.push(next);
        }
        Self { options, hull }
    }

    fn cost(&self, option: usize) -> Cost {
        self.options[option].1
    }
}

/// Loss that each further byte takes away on the way from an option to a larger one.
fn slope(from: Cost, to: Cost) -> f64 {
    (from.loss - to.loss) / (to.bytes - from.bytes) as f64
}

/// The solution of the relaxed problem, and a first choice that fits.
struct Relaxed {
    /// Loss that a byte more would take away.
    price: f64,
    /// For each class the option that is the best at this price.
    base: Vec<usize>,
    /// A choice that fits.
    fitting: Vec<usize>,
}

impl Relaxed {
    /// Steps along the hulls, the most worthwhile first, until the bytes are used up.
    fn new(classes: &[Class], budget: u64) -> Option<Self> {
        let mut steps = Vec::new();
        let mut bytes = 0u64;
        for (class, of) in classes.iter().enumerate() {
            bytes = bytes.checked_add(of.options.first()?.1.bytes)?;
            for (at, pair) in of.hull.windows(2).enumerate() {
                steps.push((slope(of.cost(pair[0]), of.cost(pair[1])), class, at));
            }
        }
        if bytes > budget {
            return None;
        }
        steps.sort_by(|a, b| b.0.total_cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2))));
        let mut base = vec![0; classes.len()];
        let mut fitting = vec![0; classes.len()];
        let mut price = None;
        for (worth, class, at) in steps {
            let of = &classes[class];
            let (from, to) = (of.hull[at], of.hull[at + 1]);
            let more = of.cost(to).bytes - of.cost(from).bytes;
            let fits = bytes + more <= budget;
            if !fits {
                price.get_or_insert(worth);
            }
            if price.is_none() {
                base[class] = to;
            }
            // What does not fit is left out, and smaller steps of other tensors may still do.
            if fits && fitting[class] == from {
                fitting[class] = to;
                bytes += more;
            }
        }
        Some(Self {
            price: price.unwrap_or(0.0),
            base,
            fitting,
        })
    }
}

/// A choice of options for the classes searched so far, all others at their base.
#[derive(Clone, Copy)]
struct State {
    bytes: i128,
    loss: f64,
    /// Index of the last decision among [`Search::decisions`].
    last: u32,
}

const NONE: u32 = u32::MAX;

struct Search<'a> {
    classes: &'a [Class],
    relaxed: &'a Relaxed,
    budget: i128,
    /// Bound on the loss of every choice that fits.
    bound: f64,
    best: f64,
    best_state: Option<u32>,
    /// Decisions: the one before, the class, the option.
    decisions: Vec<(u32, u32, u16)>,
}

impl<'a> Search<'a> {
    fn new(classes: &'a [Class], relaxed: &'a Relaxed, budget: u64) -> Self {
        let sum = |chosen: &[usize]| -> (i128, f64) {
            let costs = classes.iter().zip(chosen).map(|(class, &o)| class.cost(o));
            costs.fold((0, 0.0), |(bytes, loss), cost| {
                (bytes + i128::from(cost.bytes), loss + cost.loss)
            })
        };
        let budget = i128::from(budget);
        let (bytes, loss) = sum(&relaxed.base);
        Self {
            classes,
            relaxed,
            budget,
            bound: loss + relaxed.price * (bytes - budget) as f64,
            best: sum(&relaxed.fitting).1,
            best_state: None,
            decisions: Vec::new(),
        }
    }

    /// Penalty of an option: what it loses against the base at the relaxed problem's price.
    fn penalty(&self, class: usize, option: usize) -> f64 {
        let of = &self.classes[class];
        let (base, cost) = (of.cost(self.relaxed.base[class]), of.cost(option));
        let bytes = i128::from(cost.bytes) - i128::from(base.bytes);
        (cost.loss - base.loss + self.relaxed.price * bytes as f64).max(0.0)
    }

    /// Least loss that any choice can have that begins with a state.
    fn bound_of(&self, state: &State) -> f64 {
        state.loss + self.relaxed.price * (state.bytes - self.budget) as f64
    }

    fn run(mut self) -> Solution {
        let gap = self.best - self.bound;
        // Classes with an alternative that may be worth it, the likeliest first.
        let mut core: Vec<(f64, usize)> = Vec::new();
        for class in 0..self.classes.len() {
            let others = (0..self.classes[class].options.len()).filter(|&o| o != self.relaxed.base[class]);
            let least = others
                .map(|o| self.penalty(class, o))
                .fold(f64::INFINITY, f64::min);
            if least < gap {
                core.push((least, class));
            }
        }
        core.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let costs = self
            .classes
            .iter()
            .zip(&self.relaxed.base)
            .map(|(class, &o)| class.cost(o));
        let (bytes, loss) = costs.fold((0, 0.0), |(bytes, loss), cost| {
            (bytes + i128::from(cost.bytes), loss + cost.loss)
        });
        let mut states = vec![State {
            bytes,
            loss,
            last: NONE,
        }];
        self.note(&states);
        let mut whole = true;
        for (_, class) in core {
            whole &= self.decide(&mut states, class);
            if states.is_empty() {
                break;
            }
        }
        self.finish(whole)
    }

    /// Extends all states by the options of a class; whether none had to be dropped for their number.
    fn decide(&mut self, states: &mut Vec<State>, class: usize) -> bool {
        let of = &self.classes[class];
        let base = of.cost(self.relaxed.base[class]);
        let mut next: Vec<(State, Option<u16>)> = states.iter().map(|s| (*s, None)).collect();
        for (option, (_, cost)) in of.options.iter().enumerate() {
            if option == self.relaxed.base[class] || self.penalty(class, option) >= self.best - self.bound {
                continue;
            }
            for state in states.iter() {
                let new = State {
                    bytes: state.bytes + i128::from(cost.bytes) - i128::from(base.bytes),
                    loss: state.loss + cost.loss - base.loss,
                    last: state.last,
                };
                if self.bound_of(&new) < self.best {
                    next.push((new, Some(option as u16)));
                }
            }
        }
        next.sort_by(|(a, _), (b, _)| a.bytes.cmp(&b.bytes).then(a.loss.total_cmp(&b.loss)));
        let mut least = f64::INFINITY;
        next.retain(|(state, _)| {
            let better = state.loss < least;
            least = least.min(state.loss);
            better
        });
        let mut whole = true;
        if next.len() > MAX_STATES {
            let mut bounds: Vec<f64> = next.iter().map(|(s, _)| self.bound_of(s)).collect();
            bounds.sort_by(f64::total_cmp);
            let limit = bounds[MAX_STATES];
            next.retain(|(s, _)| self.bound_of(s) < limit);
            whole = false;
        }
        states.clear();
        for (mut state, option) in next {
            if let Some(option) = option {
                self.decisions.push((state.last, class as u32, option));
                state.last = (self.decisions.len() - 1) as u32;
            }
            states.push(state);
        }
        self.note(states);
        let best = self.best;
        let price = self.relaxed.price;
        let budget = self.budget;
        states.retain(|s| s.loss + price * (s.bytes - budget) as f64 <= best);
        whole
    }

    /// Keeps the best of the states that fit.
    fn note(&mut self, states: &[State]) {
        for state in states {
            if state.bytes <= self.budget && state.loss < self.best {
                self.best = state.loss;
                self.best_state = Some(state.last);
            }
        }
    }

    fn finish(self, whole: bool) -> Solution {
        let mut chosen = match self.best_state {
            None => self.relaxed.fitting.clone(),
            Some(_) => self.relaxed.base.clone(),
        };
        let mut last = self.best_state.unwrap_or(NONE);
        while let Some(&(before, class, option)) = self.decisions.get(last as usize) {
            chosen[class as usize] = usize::from(option);
            last = before;
        }
        let costs = || self.classes.iter().zip(&chosen).map(|(class, &o)| class.cost(o));
        let loss = costs().map(|cost| cost.loss).sum();
        Solution {
            bytes: costs().map(|cost| cost.bytes).sum(),
            loss,
            bound: if whole { loss } else { self.bound.min(loss) },
            chosen: self
                .classes
                .iter()
                .zip(&chosen)
                .map(|(class, &o)| class.options[o].0)
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests;
