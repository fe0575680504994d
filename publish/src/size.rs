//! Sizes for people, in one unit for everything that is compared.

/// A unit of sizes: a power of 1024 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unit {
    name: &'static str,
    bytes: u64,
}

impl Unit {
    /// The unit for sizes of which this is the largest: GiB, or MiB where nothing is as large as a GiB.
    pub fn of(largest: u64) -> Self {
        match largest >= 1 << 30 {
            true => Self {
                name: "GiB",
                bytes: 1 << 30,
            },
            false => Self {
                name: "MiB",
                bytes: 1 << 20,
            },
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        self.name
    }

    /// A size in this unit, to hundredths.
    pub fn number(self, bytes: u64) -> String {
        format!("{:.2}", bytes as f64 / self.bytes as f64)
    }

    /// The same with the unit.
    pub fn show(self, bytes: u64) -> String {
        format!("{} {}", self.number(bytes), self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_unit_for_all() {
        let unit = Unit::of(3 << 30);
        assert_eq!(unit.show(3 << 30), "3.00 GiB");
        assert_eq!(unit.show(100 << 20), "0.10 GiB");
        // A GiB is 1024 MiB, and what is less is told in MiB.
        assert_eq!(Unit::of((1 << 30) - 1).show(1 << 29), "512.00 MiB");
        assert_eq!(Unit::of(1 << 30).show(1 << 30), "1.00 GiB");
        assert_eq!(Unit::of(0).number(0), "0.00");
    }
}
