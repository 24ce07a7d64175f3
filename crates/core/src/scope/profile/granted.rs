//! How much of an argv a prefix names.

use super::align::Aligned;

/// How much of an argv the prefix names.
#[derive(Debug, Clone, Copy)]
pub(in crate::scope) struct Granted<'t> {
    /// The words before this one, but for the gaps.
    pub words: usize,
    /// Words among them that the prefix doesn't name: options that stand before what it does name.
    pub gaps: &'t [usize],
    /// How many words stood before this argv in the one that `gaps` counts.
    start: usize,
    /// The beginning of the next word.
    pub open: Option<&'t str>,
    /// A word of which the prefix names the flag alone, and not the value that is attached to it.
    free: Option<usize>,
    /// Whether only harmless flags may follow the words that are named.
    pub sealed: bool,
    /// Whether the last word that is named was open, and was judged.
    pub(super) completed: bool,
}

impl Granted<'_> {
    /// Whole words alone.
    pub fn whole(words: usize) -> Self {
        Self { words, gaps: &[], start: 0, open: None, free: None, sealed: false, completed: false }
    }

    /// The words of a prefix where they were found.
    pub fn found(found: &Aligned) -> Granted<'_> {
        Granted { gaps: &found.gaps, free: found.free, ..Granted::whole(found.words) }
    }

    /// The same with a statement after them, which was judged.
    pub fn with_statement(self) -> Self {
        Self { words: self.words + 1, sealed: true, ..self }
    }

    /// The same behind the open word, which was judged: what follows is judged as behind one that is closed.
    pub fn complete(self) -> Self {
        Self { words: self.words + 1, open: None, completed: true, ..self }
    }

    pub(super) fn names(&self, word: usize) -> bool {
        word < self.words && !self.is_gap(word)
    }

    /// Whether it names so many words.
    pub(super) fn names_all(&self, words: usize) -> bool {
        (0..words).all(|word| self.names(word))
    }

    /// Whether it names a flag's value, the last word of which this is.
    pub(super) fn names_value(&self, word: usize) -> bool {
        self.names(word) && self.free != Some(word + self.start)
    }

    /// Whether the word stands before one that the prefix names, which doesn't name it.
    pub(super) fn is_gap(&self, word: usize) -> bool {
        word < self.words && self.gaps.contains(&(word + self.start))
    }

    pub(super) fn is_open(&self, word: usize) -> bool {
        word == self.words && self.open.is_some_and(|text| !text.is_empty())
    }

    /// Whether nothing but flags may stand at this word.
    pub(super) fn is_sealed(&self, word: usize) -> bool {
        match self.open {
            Some(_) => word > self.words || self.is_gap(word),
            None => self.sealed && (word >= self.words || self.is_gap(word)),
        }
    }

    /// The same for an argv that begins at a word of this one.
    pub(super) fn from(&self, word: usize) -> Self {
        let words = self.words.saturating_sub(word);
        let open = self.open.filter(|_| self.words >= word);
        let sealed = self.sealed || self.open.is_some();
        Self { words, start: self.start + word, open, sealed, ..*self }
    }
}
