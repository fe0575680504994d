//! Numbers of windows as arguments.

use std::str::FromStr;

/// At most this many windows, or all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Chunks(Option<usize>);

const EXPECTED: &str = "expected a positive number of windows, or -1 for all";

impl Chunks {
    /// At most so many, where there is a bound.
    pub(crate) fn of(most: Option<usize>) -> Result<Self, String> {
        match most {
            Some(0) => Err(EXPECTED.to_owned()),
            most => Ok(Self(most)),
        }
    }

    /// The bound, where there is one.
    pub(crate) fn most(self) -> Option<usize> {
        self.0
    }
}

impl FromStr for Chunks {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.parse()) {
            ("-1", _) => Ok(Self(None)),
            (_, Ok(n @ 1..)) => Ok(Self(Some(n))),
            _ => Err(EXPECTED.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_or_all() {
        assert_eq!("-1".parse::<Chunks>().unwrap().most(), None);
        assert_eq!("7".parse::<Chunks>().unwrap().most(), Some(7));
        for wrong in ["0", "-2", "", "x", "1.5", "99999999999999999999"] {
            assert!(wrong.parse::<Chunks>().is_err(), "{wrong:?}");
        }
    }
}
