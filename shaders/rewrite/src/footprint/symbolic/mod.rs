//! The bytes that a kernel may touch in any launch, as bounds that the launch decides.
//!
//! It is for people to read: no check is left out because of it. `DESIGN.md`, "In words", says when
//! the bounds hold.

mod assume;
mod bound;
mod compute;
mod range;
mod state;
mod sum;
mod text;
mod walk;
mod words;

pub use words::KernelFootprint;

use crate::footprint::plan::Plan;
use crate::footprint::symbolic::bound::Bound;
use crate::footprint::symbolic::state::{Found, Walk};
use crate::footprint::unknown::{Doubt, Unknown};
use crate::footprint::value::Trust;

/// The reach of a kernel's sites, and whether its loops end.
#[derive(Clone, Debug, Default)]
pub(super) struct Symbolic {
    /// By the position of each site.
    pub(super) sites: Vec<Reach>,
    /// For each loop the steps that have to be above 0 for it to end. `None` if it is not known
    /// to end.
    pub(super) loops: Vec<Option<Vec<Bound>>>,
}

/// The reach of a site, over all the ways to it.
#[derive(Clone, Debug)]
pub(super) enum Reach {
    /// Bytes behind arguments; none if it never runs.
    Bytes(Vec<Bytes>),
    /// Indices into own variables: the largest, and how many elements there are.
    Own(Vec<(Bound, u64)>),
    /// It is not known, behind an argument if that is known.
    Unknown(Option<u32>, Doubt),
}

/// Bytes behind an argument.
#[derive(Clone, Debug)]
pub(super) struct Bytes {
    /// Its byte in the push constants.
    pub(super) root: u32,
    pub(super) start: Bound,
    pub(super) end: Bound,
}

impl Symbolic {
    /// Evaluates a plan for all launches at once.
    pub(super) fn of(
        plan: &Plan,
        local_size: [u32; 3],
        sites: usize,
        loops: usize,
    ) -> Result<Self, Unknown> {
        let mut walk = Walk::new(plan, local_size);
        walk.steps(0, plan.steps.len())?;
        let mut all = Self {
            sites: vec![Reach::Bytes(Vec::new()); sites],
            loops: vec![Some(Vec::new()); loops],
        };
        for found in walk.log {
            match found {
                Found::Undefined => return Err(Unknown::Undefined),
                Found::Loop { which, ends } => {
                    let number = plan.loops[which].number;
                    if let Some(known) = number.and_then(|number| all.loops.get_mut(number)) {
                        match (known.as_mut(), ends) {
                            (Some(steps), Some(step)) => steps.push(step),
                            _ => *known = None,
                        }
                    }
                }
                Found::Access { site, place, bytes } => {
                    let reach = place.and_then(|place| {
                        let unknown = (place.root, Doubt::Unbounded);
                        let end = place.high.and_then(|last| last.moved(bytes.into()));
                        let bytes = place.root.zip(place.low.zip(end));
                        bytes.map(|(root, (start, end))| Bytes { root, start, end }).ok_or(unknown)
                    });
                    all.add(site, reach.map(|bytes| Reach::Bytes(vec![bytes])));
                }
                Found::Index { site, index, length } => {
                    let trust = index.as_ref().map_or(Trust::Void, |of| of.trust);
                    let why = if trust == Trust::Loose { Doubt::Memory } else { Doubt::Unbounded };
                    let last = index.and_then(|of| of.high.ok_or(why));
                    // A constant that is too large is in every launch.
                    let last = last.and_then(|last| match last.as_constant() {
                        Some(known) if known >= i128::from(length) => Err(why),
                        _ => Ok(last),
                    });
                    let reach = last.map(|last| Reach::Own(vec![(last, length)]));
                    all.add(site, reach.map_err(|why| (None, why)));
                }
            }
        }
        Ok(all)
    }

    /// Adds what is known of a site by one more way to it.
    fn add(&mut self, site: usize, reach: Result<Reach, (Option<u32>, Doubt)>) {
        let Some(known) = self.sites.get_mut(site) else { return };
        match (known, reach) {
            (Reach::Unknown(..), _) => {}
            (Reach::Bytes(all), Ok(Reach::Bytes(more))) => all.extend(more),
            (Reach::Own(all), Ok(Reach::Own(more))) => all.extend(more),
            (known, Ok(reach)) => *known = reach,
            (known, Err((root, why))) => *known = Reach::Unknown(root, why),
        }
    }
}
