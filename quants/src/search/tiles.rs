//! Sub-blocks in tiles of as many as there are lanes.

/// Runs `$body` with as many sub-blocks as there are lanes, with the most where possible: a search waits for its own
/// results, and several fill each other's waits. `$lanes` is the type of the lanes, `$range` the sub-blocks. Those left
/// over, less than a register's lanes, go to `$padded`.
macro_rules! in_lanes {
    ($count:expr, |$lanes:ident, $range:ident| $body:expr, |$rest:ident| $padded:expr) => {{
        let count = $count;
        let mut start = 0;
        while count - start >= <L::Most as $crate::isa::Lanes>::COUNT {
            type $lanes<L> = <L as $crate::isa::Single>::Most;
            let $range = start..start + <L::Most as $crate::isa::Lanes>::COUNT;
            $body;
            start += <L::Most as $crate::isa::Lanes>::COUNT;
        }
        // Less than the most may be none or a few.
        while count - start >= <L::Double as $crate::isa::Lanes>::COUNT {
            type $lanes<L> = <L as $crate::isa::Single>::Double;
            let $range = start..start + <L::Double as $crate::isa::Lanes>::COUNT;
            $body;
            start += <L::Double as $crate::isa::Lanes>::COUNT;
        }
        while count - start >= L::COUNT {
            type $lanes<L> = L;
            let $range = start..start + L::COUNT;
            $body;
            start += L::COUNT;
        }
        if start < count {
            let $rest = start..count;
            $padded;
        }
    }};
}
pub(crate) use in_lanes;

/// The rows of a range, with zeros to fill the lanes.
#[inline(always)]
pub(crate) fn padded<T: Copy, const N: usize>(rows: &[[T; N]], zero: T) -> [[T; N]; 8] {
    let mut padded = [[zero; N]; 8];
    padded[..rows.len()].copy_from_slice(rows);
    padded
}
