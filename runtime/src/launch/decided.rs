//! What was decided of launches that ran without checks, as far as it does not depend on memory.
//!
//! `DESIGN.md`, "Launches like one before", has the argument.

use super::{checked::Request, grid::Dispatch, options::LaunchOptions};
use crate::{kernel::code::Code, vk::Pipeline};
use farptr_rewrite::Footprint;
use smallvec::SmallVec;
use std::{sync::Arc, time::Duration};

/// Launches that are remembered.
const MOST: usize = 8;

/// What was decided of the last launches of a scope.
#[derive(Default)]
pub(crate) struct Decisions {
    entries: Vec<Decided>,
    /// The place of the oldest, once there are as many as there may be.
    oldest: usize,
}

/// What was decided of a launch: it holds for each launch of the same kernel, grid, options and
/// numbers among the push constants, whatever its arguments lead to.
pub(crate) struct Decided {
    code: Arc<Code>,
    dispatch: Dispatch,
    options: LaunchOptions,
    /// The words of the push constants on which the footprint depends, by position.
    words: SmallVec<[(usize, u32); 8]>,
    pub(crate) footprint: Arc<Footprint>,
    /// The most that the launch takes.
    pub(crate) most: Duration,
    /// The kernel's own words, in place of the checked form without an offset and of that with one.
    pipelines: [Option<Arc<Pipeline>>; 2],
}

impl Decisions {
    /// What was decided of a launch like this one.
    pub(crate) fn find(&self, request: &Request<'_>) -> Option<&Decided> {
        self.entries.iter().find(|decided| decided.is_of(request))
    }

    /// Remembers what was decided of a launch whose checked form would have an `offset`, or not.
    pub(crate) fn note(
        &mut self,
        request: &Request<'_>,
        footprint: &Arc<Footprint>,
        most: Duration,
        pipeline: &Arc<Pipeline>,
        offset: bool,
    ) {
        let known = self.entries.iter_mut().find(|decided| decided.is_of(request));
        if let Some(decided) = known {
            decided.pipelines[usize::from(offset)] = Some(Arc::clone(pipeline));
            return;
        }
        let words = footprint.words_read.iter().map(|&at| (at, word(request.push, at)));
        let mut pipelines = [None, None];
        pipelines[usize::from(offset)] = Some(Arc::clone(pipeline));
        let decided = Decided {
            code: Arc::clone(request.code),
            dispatch: request.dispatch,
            options: *request.options,
            words: words.collect(),
            footprint: Arc::clone(footprint),
            most,
            pipelines,
        };
        if self.entries.len() < MOST {
            self.entries.push(decided);
        } else {
            self.entries[self.oldest] = decided;
            self.oldest = (self.oldest + 1) % MOST;
        }
    }
}

impl Decided {
    /// Whether it was decided of launches like this one. A kernel takes one number of push
    /// constants.
    fn is_of(&self, request: &Request<'_>) -> bool {
        Arc::ptr_eq(&self.code, request.code)
            && self.dispatch == request.dispatch
            && self.options == *request.options
            && self.words.iter().all(|&(at, known)| word(request.push, at) == known)
    }

    /// The kernel's own words in place of a checked form with an `offset`, or without, if that was
    /// asked for before.
    pub(crate) fn pipeline(&self, offset: bool) -> Option<&Arc<Pipeline>> {
        self.pipelines[usize::from(offset)].as_ref()
    }
}

/// A word of the push constants; bytes beyond their end are 0.
fn word(push: &[u8], at: usize) -> u32 {
    let start = at.saturating_mul(4).min(push.len());
    match push[start..].first_chunk() {
        Some(&bytes) => u32::from_le_bytes(bytes),
        None => {
            let mut bytes = [0; 4];
            bytes[..push.len() - start].copy_from_slice(&push[start..]);
            u32::from_le_bytes(bytes)
        }
    }
}
