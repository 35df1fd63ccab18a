//! Random numbers, and texts changed by them.

use super::seeds::{KEYS, VALUES};

/// xorshift64 (Marsaglia, 2003): the same numbers on every machine.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(bound.max(1)).unwrap_or(1)).unwrap_or(0)
    }

    pub(super) fn one_of<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len())]
    }

    /// The text with one or two small changes.
    pub(super) fn mutate(&mut self, text: &[u8], pieces: &[&[u8]]) -> Vec<u8> {
        let mut text = text.to_vec();
        for _ in 0..=self.below(2) {
            let (at, end) = (self.below(text.len() + 1), self.below(text.len() + 1));
            let range = at.min(end)..at.max(end).min(at.min(end) + 8);
            match self.below(7) {
                0 => drop(text.splice(range, [])),
                1 => drop(text.splice(at..at, self.one_of(pieces).iter().copied())),
                2 => drop(text.splice(range, self.one_of(pieces).iter().copied())),
                3 if self.below(8) == 0 => text.truncate(at.max(1)),
                4 => {
                    let copy = text[range].to_vec();
                    drop(text.splice(end..end, copy));
                }
                5 => text.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << self.below(8)),
                _ => text
                    .iter_mut()
                    .skip(at)
                    .take(1)
                    .for_each(|byte| *byte = self.below(256).try_into().unwrap_or(0)),
            }
        }
        text
    }

    /// The text with lines left out and repeated and some values exchanged, so that most of it still parses.
    pub(super) fn rearrange(&mut self, text: &str) -> Vec<u8> {
        let (keys, values): (Vec<_>, Vec<_>) = (KEYS.split_whitespace().collect(), VALUES.lines().collect());
        let mut rearranged = String::new();
        for line in text.lines() {
            let line = match (self.below(36), line.split_once(" = ")) {
                (0, Some(_)) => continue,
                (1, Some((key, _))) => format!("{key} = {}", self.one_of(&values)),
                (2, Some((key, _))) => {
                    format!("{key} = [{}, {}]", self.one_of(&values), self.one_of(&values))
                }
                (3, Some((_, value))) => format!("{} = {value}", self.one_of(&keys)),
                (4, None) => format!("{line}\n{} = {}", self.one_of(&keys), self.one_of(&values)),
                _ => line.to_owned(),
            };
            rearranged = rearranged + &line + "\n";
        }
        rearranged.into_bytes()
    }
}
