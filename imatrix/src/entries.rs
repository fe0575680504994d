//! Entries by the names of their tensors.

use std::ops::Index;

use indexmap::IndexMap;

use crate::Entry;

/// Entries by tensor name, in an order: that of a file, or of insertion.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Entries(IndexMap<String, Entry>);

impl Entries {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }

    /// The entry of a tensor.
    pub fn get(&self, name: &str) -> Option<&Entry> {
        self.0.get(name)
    }

    /// The entry of a tensor, put last where there was none.
    pub fn get_or_insert_with(&mut self, name: &str, make: impl FnOnce() -> Entry) -> &mut Entry {
        self.0.entry(name.to_owned()).or_insert_with(make)
    }

    /// Sets the entry of a tensor, in the place of one that there was; returns that one.
    pub fn insert(&mut self, name: impl Into<String>, entry: Entry) -> Option<Entry> {
        self.0.insert(name.into(), entry)
    }

    /// Takes the entry of a tensor away; the others keep their order.
    pub fn remove(&mut self, name: &str) -> Option<Entry> {
        self.0.shift_remove(name)
    }

    /// Whether a tensor has an entry.
    pub fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Names and entries in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Entry)> {
        self.0.iter().map(|(name, entry)| (name.as_str(), entry))
    }

    /// Names in order.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The entries, to change, in order.
    pub fn values_mut(&mut self) -> impl ExactSizeIterator<Item = &mut Entry> {
        self.0.values_mut()
    }

    /// Keeps the entries for which `keep` is true.
    pub fn retain(&mut self, mut keep: impl FnMut(&str, &Entry) -> bool) {
        self.0.retain(|name, entry| keep(name, entry));
    }

    /// Puts them in the order of their names.
    pub fn sort(&mut self) {
        self.0.sort_keys();
    }

    /// Their number.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Index<&str> for Entries {
    type Output = Entry;

    /// # Panics
    /// When the tensor has no entry.
    fn index(&self, name: &str) -> &Entry {
        &self.0[name]
    }
}
