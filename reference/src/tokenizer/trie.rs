//! A trie of byte strings, kept as sorted keys so that its size is that of the keys.

/// Byte strings, each with an id; of equal strings the last counts.
#[derive(Default)]
pub(crate) struct Trie {
    keys: Vec<(Vec<u8>, u32)>,
    /// Range of the keys that start with each byte.
    first: Vec<(u32, u32)>,
}

/// The keys that share a prefix.
#[derive(Clone, Copy)]
pub(crate) struct Node {
    low: usize,
    high: usize,
    depth: usize,
}

impl Trie {
    /// A trie of these keys; empty ones are left out.
    pub(crate) fn new(keys: impl IntoIterator<Item = (Vec<u8>, u32)>) -> Self {
        let mut keys: Vec<_> = keys.into_iter().filter(|(key, _)| !key.is_empty()).collect();
        keys.sort_by(|a, b| a.0.cmp(&b.0));
        // The sort is stable: the last of equal keys stands last.
        let mut kept: Vec<(Vec<u8>, u32)> = Vec::with_capacity(keys.len());
        for (key, id) in keys {
            match kept.last_mut() {
                Some(last) if last.0 == key => last.1 = id,
                _ => kept.push((key, id)),
            }
        }
        let first = (0..=255u8)
            .map(|byte| {
                let low = kept.partition_point(|(key, _)| key[0] < byte);
                let high = kept.partition_point(|(key, _)| key[0] <= byte);
                (low as u32, high as u32)
            })
            .collect();
        Self { keys: kept, first }
    }

    /// The node of one byte.
    pub(crate) fn start(&self, byte: u8) -> Option<Node> {
        let &(low, high) = self.first.get(usize::from(byte))?;
        (low < high).then_some(Node {
            low: low as usize,
            high: high as usize,
            depth: 1,
        })
    }

    /// The node one byte further down.
    pub(crate) fn step(&self, node: Node, byte: u8) -> Option<Node> {
        let keys = &self.keys[node.low..node.high];
        let at = |key: &(Vec<u8>, u32)| key.0.get(node.depth).copied();
        let low = node.low + keys.partition_point(|key| at(key) < Some(byte));
        let high = node.low + keys.partition_point(|key| at(key) <= Some(byte));
        (low < high).then_some(Node {
            low,
            high,
            depth: node.depth + 1,
        })
    }

    /// The id of the key that ends at a node.
    pub(crate) fn id(&self, node: Node) -> Option<u32> {
        let (key, id) = self.keys.get(node.low)?;
        (key.len() == node.depth).then_some(*id)
    }

    /// Keys that are prefixes of the text, shortest first: their length and id.
    pub(crate) fn prefixes<'a>(&'a self, text: &'a [u8]) -> impl Iterator<Item = (usize, u32)> + 'a {
        let mut bytes = text.iter();
        let mut node = bytes.next().and_then(|&byte| self.start(byte));
        std::iter::from_fn(move || {
            while let Some(here) = node {
                node = bytes.next().and_then(|&byte| self.step(here, byte));
                if let Some(id) = self.id(here) {
                    return Some((here.depth, id));
                }
            }
            None
        })
    }

    /// Length of the longest prefix of the text that some key starts with, in bytes.
    pub(crate) fn common_prefix(&self, text: &[u8]) -> usize {
        let mut bytes = text.iter();
        let mut node = bytes.next().and_then(|&byte| self.start(byte));
        let mut depth = 0;
        while let Some(here) = node {
            depth = here.depth;
            node = bytes.next().and_then(|&byte| self.step(here, byte));
        }
        depth
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_every_key_that_is_a_prefix() {
        let keys = ["a", "ab", "abcd", "b", "ab"];
        let trie = Trie::new(
            keys.iter()
                .enumerate()
                .map(|(id, key)| (key.as_bytes().to_vec(), id as u32)),
        );
        assert_eq!(
            trie.prefixes(b"abcde").collect::<Vec<_>>(),
            [(1, 0), (2, 4), (4, 2)]
        );
        assert_eq!(trie.prefixes(b"c").count(), 0);
        assert_eq!(trie.common_prefix(b"abcx"), 3);
        assert_eq!(Trie::default().prefixes(b"abc").count(), 0);
    }
}
