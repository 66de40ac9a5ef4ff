//! A sorted set of either form, to read.

use std::ops::{ControlFlow, Range};

use super::{LexBound, ScoreBound, Zset, compact};
use crate::types::packed::Item;

/// Which end comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    Ascending,
    Descending,
}

/// Ranks count from the lowest, whatever the direction.
#[derive(Clone, Copy, Debug)]
pub enum ZsetRef<'a> {
    Compact(&'a [u8]),
    Full(&'a Zset),
}

impl<'a> ZsetRef<'a> {
    #[inline]
    pub fn len(self) -> usize {
        match self {
            Self::Compact(run) => compact::len(run),
            Self::Full(set) => set.len(),
        }
    }

    pub fn is_empty(self) -> bool {
        match self {
            Self::Compact(run) => run.is_empty(),
            Self::Full(set) => set.is_empty(),
        }
    }

    #[inline]
    pub fn score(self, name: &[u8]) -> Option<f64> {
        match self {
            Self::Compact(run) => compact::find(run, name).map(|(_, score)| score),
            Self::Full(set) => set.score(name),
        }
    }

    /// Rank and score.
    #[inline]
    pub fn rank(self, name: &[u8]) -> Option<(usize, f64)> {
        match self {
            Self::Compact(run) => compact::find(run, name),
            Self::Full(set) => set.rank(name),
        }
    }

    /// The element of a rank.
    pub fn get(self, rank: usize) -> Option<(Item<'a>, f64)> {
        match self {
            Self::Compact(run) => compact::get(run, rank).map(|entry| (entry.name, entry.score)),
            Self::Full(set) => set.get(rank).map(|element| (Item::Str(element.name()), element.score())),
        }
    }

    /// The ranks of the elements between two scores.
    pub fn score_range(self, min: ScoreBound, max: ScoreBound) -> Range<usize> {
        match self {
            Self::Compact(run) => compact::score_range(run, min, max),
            Self::Full(set) => set.score_range(min, max),
        }
    }

    /// The ranks of the elements between two names. The direction only matters where scores differ.
    pub fn lex_range(self, min: LexBound<'_>, max: LexBound<'_>, direction: Direction) -> Range<usize> {
        match (self, direction) {
            (Self::Compact(run), Direction::Ascending) => compact::lex_range(run, min, max),
            (Self::Compact(run), Direction::Descending) => compact::lex_range_from_above(run, min, max),
            (Self::Full(set), _) => set.lex_range(min, max),
        }
    }

    /// Hands names and scores of these ranks, as far as there are any, to `each`. Names of a full set come as strings, even where an integer
    /// would say the same.
    pub fn for_each(self, ranks: Range<usize>, direction: Direction, mut each: impl FnMut(Item<'a>, f64)) {
        match (self, direction) {
            (Self::Compact(run), Direction::Ascending) => {
                compact::ascending(run, ranks).for_each(|entry| each(entry.name, entry.score));
            }
            (Self::Compact(run), Direction::Descending) => {
                compact::descending(run, ranks).for_each(|entry| each(entry.name, entry.score));
            }
            (Self::Full(set), Direction::Ascending) => {
                set.ascending(ranks).for_each(|element| each(Item::Str(element.name()), element.score()));
            }
            (Self::Full(set), Direction::Descending) => {
                set.descending(ranks).for_each(|element| each(Item::Str(element.name()), element.score()));
            }
        }
    }

    /// Names and scores from a score on, lowest first, until `each` says that it was enough.
    pub fn for_each_from(self, min: ScoreBound, mut each: impl FnMut(Item<'a>, f64) -> ControlFlow<()>) {
        let ended = match self {
            Self::Compact(run) => {
                let ranks = compact::score_range(run, min, ScoreBound::Included(f64::INFINITY));
                compact::ascending(run, ranks).try_for_each(|entry| each(entry.name, entry.score))
            }
            Self::Full(set) => {
                set.ascending_from(min).try_for_each(|element| each(Item::Str(element.name()), element.score()))
            }
        };
        // Whether by `each` or by the last element.
        let (ControlFlow::Continue(()) | ControlFlow::Break(())) = ended;
    }
}
