//! Footprints: the bytes that a launch may touch, known before it runs.
//!
//! [`Footprints`] is what was found out about a kernel once; [`Footprints::of_launch`] evaluates it
//! for a grid and push constants. `DESIGN.md`, "Footprints", says what the values are, what each
//! instruction makes of them, and why the result may replace checks.

mod acts;
mod affine;
mod arithmetic;
mod assume;
mod blocks;
mod build;
mod builder;
mod cache;
mod calls;
mod choices;
mod common_index;
mod counts;
mod data;
mod defined;
mod evaluate;
mod explain;
mod flow;
mod graph;
mod inputs;
mod instructions;
mod launch;
mod log;
mod memory;
mod mutant;
mod nest;
mod op;
mod overwritten;
mod plan;
mod result;
mod run;
mod shapes;
mod slots;
mod stores;
mod symbolic;
#[cfg(test)]
mod tests;
mod trips;
mod unfollowed;
mod unknown;
mod value;
mod zeros;

pub use cache::FootprintCache;
pub use common_index::IndexedAccess;
pub use result::{Footprint, RootBytes, SiteReach, Span};
pub use symbolic::KernelFootprint;
pub use unknown::{Doubt, Unknown};

use crate::analyse::access::Access;
use crate::contract::analysis::Analysis;
use crate::footprint::builder::{Builder, Kernel};
use crate::footprint::flow::Flow;
use crate::footprint::launch::{Launch, Part};
use crate::footprint::nest::Nest;
use crate::footprint::plan::Plan;
use crate::footprint::run::Run;
use crate::footprint::symbolic::Symbolic;
use crate::ir::edit::Edit;
use crate::ir::layouts::Layouts;
use rspirv::spirv::Op;
use std::sync::{Arc, OnceLock};

/// The bytes that a kernel touches, as a function of its push constants and its grid.
#[derive(Clone, Debug)]
pub struct Footprints {
    plan: Arc<Result<Plan, Unknown>>,
    local_size: [u32; 3],
    /// Whether each site writes, reads, or is an index into a variable of the kernel's own.
    sites: Arc<[result::Kind]>,
    loops: usize,
    operations: u64,
    /// Made when somebody asks: only launches in rounds do.
    common_indices: OnceLock<Vec<Vec<IndexedAccess>>>,
}

impl Footprints {
    /// Finds out what a kernel touches.
    pub(crate) fn new(
        edit: &Edit,
        layouts: &Layouts,
        accesses: &[Access],
        analysis: &Analysis,
        local_size: Option<[u32; 3]>,
    ) -> Self {
        let kernel = Kernel { edit, layouts, accesses, local_size: local_size.unwrap_or_default() };
        let prepared = if local_size.is_some() { prepared(&kernel) } else { Err(Unknown::Damaged) };
        let instructions = prepared.as_ref().map_or(u64::MAX, |&(_, instructions)| instructions);
        let widest = accesses.iter().map(|access| access_numbers(layouts, edit, access)).max();
        let operations = instructions.saturating_mul(NUMBERS.max(widest.unwrap_or(0)));
        Self {
            plan: Arc::new(prepared.map(|(plan, _)| plan)),
            local_size: kernel.local_size,
            sites: analysis.sites.iter().map(result::Kind::of).collect(),
            common_indices: OnceLock::new(),
            loops: analysis.loops,
            operations,
        }
    }

    /// An invocation computes, loads and stores no more numbers than this for each run of a loop's
    /// start, and once more for what is in no loop; `u64::MAX` for a kernel of which nothing is
    /// known.
    ///
    /// Each instruction of the words counts as 16 numbers, or as many as the largest access has,
    /// and that of a function once for each place that calls it.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.operations
    }

    /// The accesses whose index comes from memory and is common to several arguments, a list for
    /// each index: the columns and the values of a sparse matrix are accessed by one, and so are
    /// the fields of elements that are kept in arrays of their own.
    ///
    /// A launch that misses a page behind one of the arguments misses the pages of the same
    /// elements behind the others. That is a hint: nothing may rest on it.
    ///
    /// # Examples
    ///
    /// ```
    /// use farptr_kernels::{KernelDesc, spmv};
    /// use farptr_rewrite::{Program, Root};
    ///
    /// let program = Program::parse(spmv::Kernel::words(), None)?;
    /// let [entries] = program.footprints().common_indices() else { panic!("one index") };
    /// let place = |access: &farptr_rewrite::IndexedAccess| (access.root, access.stride_bytes);
    /// let offsets: Vec<_> = entries.iter().map(place).collect();
    /// let (col, val) = (Root::Push { offset_bytes: 8 }, Root::Push { offset_bytes: 16 });
    /// assert_eq!(offsets, [(val, 4), (col, 4)]);
    /// # Ok::<(), farptr_rewrite::RewriteError>(())
    /// ```
    #[must_use]
    pub fn common_indices(&self) -> &[Vec<IndexedAccess>] {
        self.common_indices.get_or_init(|| match &*self.plan {
            Ok(plan) => common_index::accesses(plan, &self.sites),
            Err(_) => Vec::new(),
        })
    }

    /// Evaluates what a launch of so many workgroups with these push constants touches.
    ///
    /// The result holds for every order in which invocations run and for all that memory may
    /// contain. It takes for granted that the kernel sees this grid, and that no loop is cut short:
    /// either every loop's runs are known and below what the driver allows, or the form of the
    /// kernel that runs ends invocations whose loops were cut.
    #[must_use]
    pub fn of_launch(&self, push: &[u8], groups: [u32; 3]) -> Footprint {
        self.evaluated(push, groups, false).0
    }

    /// As [`of_launch`](Self::of_launch), with the bytes that every launch that ends overwrites:
    /// [`RootBytes::overwritten`]. It is half as much work again, or more.
    #[must_use]
    pub fn of_launch_with_overwritten(&self, push: &[u8], groups: [u32; 3]) -> Footprint {
        self.evaluated(push, groups, true).0
    }

    /// Says in words what every launch touches, as a function of its push constants and its grid.
    ///
    /// `analysis` is that of the kernel, and `names` are those of its push constants by their
    /// offsets, as in [`Reflection::push_names`](crate::Reflection::push_names).
    ///
    /// # Examples
    ///
    /// ```
    /// use farptr_kernels::{KernelDesc, saxpy};
    /// use farptr_rewrite::{Program, Reflection};
    ///
    /// let words = saxpy::Kernel::words();
    /// let program = Program::parse(words, None)?;
    /// let names = Reflection::of(words)?.push_names;
    /// let footprint = program.footprints().of_kernel(program.analysis(), &names);
    /// assert_eq!(
    ///     footprint.to_string(),
    ///     "reads x[0..n], reads y[0..n], writes y[0..n]; every access is known"
    /// );
    /// assert!(footprint.can_be_proved());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn of_kernel(&self, analysis: &Analysis, names: &[(u32, String)]) -> KernelFootprint {
        match self.symbolic() {
            Ok(symbolic) => KernelFootprint::of(&symbolic, analysis, names, self.local_size),
            Err(why) => KernelFootprint::unknown(why),
        }
    }

    /// The bounds of what every launch touches.
    fn symbolic(&self) -> Result<Symbolic, Unknown> {
        let plan = (*self.plan).as_ref().map_err(|why| *why)?;
        Symbolic::of(plan, self.local_size, self.sites.len(), self.loops)
    }

    /// The footprint of a launch, with what is `overwritten` if that is asked for, and with how
    /// much work it took.
    fn evaluated(&self, push: &[u8], groups: [u32; 3], overwritten: bool) -> (Footprint, u32) {
        let plan = match &*self.plan {
            Ok(plan) => plan,
            Err(why) => return (Footprint::unknown(&self.sites, self.loops, *why), 0),
        };
        if groups.contains(&0) {
            return (Footprint::empty(&self.sites, self.loops), 0);
        }
        let part = Part::of_grid(groups, self.local_size);
        let launch = Launch { push, groups, local_size: self.local_size, part };
        let mut run = Run::new(plan, launch);
        let ended = run.steps(0, plan.steps.len());
        let mut footprint = match ended {
            Ok(()) => Footprint::of_log(&run.log, &self.sites, self.loops, plan),
            Err(why) => Footprint::unknown(&self.sites, self.loops, why),
        };
        let (work, mut read) = (run.work(), std::mem::take(&mut run.read));
        let more = if overwritten && footprint.is_bounded() {
            let (bytes, more) = overwritten::overwritten(plan, &run, &mut read);
            footprint.add_overwritten(&bytes);
            more
        } else {
            0
        };
        footprint.words_read = read.words().collect();
        (footprint, work + more)
    }
}

/// The numbers of the largest values that are computed at once: those of a matrix.
const NUMBERS: u64 = 16;

/// The words of an access.
fn access_numbers(layouts: &Layouts, edit: &Edit, access: &Access) -> u64 {
    layouts.extent(edit, access.place()).map_or(u64::MAX, |(bytes, _)| bytes.div_ceil(4))
}

/// Takes a kernel apart, and counts its instructions.
fn prepared(kernel: &Kernel<'_>) -> Result<(Plan, u64), Unknown> {
    unfollowed::check(kernel.edit)?;
    let flow = Flow::of(&kernel.edit.module)?;
    let instructions = flow.parts.iter().map(|part| part.range.len() as u64).sum();
    let nest = Nest::of(&flow)?;
    let (graph, acts) = Builder::new(kernel, &flow, &nest).run()?;
    let selections = flow.count(&kernel.edit.module, Op::SelectionMerge);
    let plan = Plan { selections, ..Plan::new(graph, acts, nest, kernel.local_size)? };
    Ok((plan, instructions))
}
