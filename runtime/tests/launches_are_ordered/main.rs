//! Launches of a scope leave what they would one after the other, on a device that runs dispatches
//! which no barrier separates in the reverse order (`reorder=yes`, `runtime/mask`). A GPU may
//! overlap them; a software device never does, so there a barrier that is missing would not be
//! missed.
//!
//! `FARPTR_PROGRAMS_SEED` is the first seed and `FARPTR_PROGRAMS_COUNT` the number of programs.
//!
//! # Safety
//!
//! Launches without checks touch what the programs lend, and nothing else. Mappings are of files
//! that no other process has.
#![allow(unsafe_code, reason = "launches without checks, and mapping a file")]
#![allow(clippy::unwrap_used, reason = "functions that tests call")]

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/masked.rs"]
mod masked;
mod programs;
mod reversal;
#[path = "../common/vulkan.rs"]
mod vulkan;

use common::build;
use farptr::shaders::{affine, axpby, gather, hadamard};
use farptr::{
    AccessMode, Backing, Error, Grid, Kernel, KernelDesc, LaunchOptions, Lent, LentMut,
    ProvedAccess, Ptr, PtrMut, Runtime, RuntimeBuilder, Scope,
};
use farptr_hmm::{Maps, MapsSource};
use memmap2::MmapMut;
use programs::{
    AGAIN, Arrays, At, Extent, How, Launch, Program, READ_ONLY, SECOND, SPLIT, What, index,
};
use std::{fs::File, io::Write};

/// Programs that run unless the environment says otherwise.
const COUNT: u64 = 300;

struct Kernels {
    affine: Kernel<affine::Kernel>,
    axpby: Kernel<axpby::Kernel>,
    hadamard: Kernel<hadamard::Kernel>,
    gather: Kernel<gather::Kernel>,
}

/// The lends of a scope, in the order of the programs.
struct Lends<'s> {
    index: Lent<'s, u32>,
    read_only: [Lent<'s, f32>; READ_ONLY],
    written: Vec<LentMut<'s, f32>>,
}

impl<'s> Lends<'s> {
    /// For writing: by a pointer that is moved, or that of a part.
    fn to(&self, At { lend, first }: At) -> PtrMut<'s, f32> {
        let lent = &self.written[lend - READ_ONLY];
        if first % 2 == 0 {
            lent.ptr().add(first as u64)
        } else {
            lent.slice(first..).unwrap().ptr()
        }
    }

    /// For reading, from any lend.
    fn from(&self, at: At) -> Ptr<'s, f32> {
        match self.read_only.get(at.lend) {
            Some(lent) => lent.ptr().add(at.first as u64),
            None => self.to(at).into(),
        }
    }
}

/// Where programs run.
struct Rig<'r> {
    runtime: &'r Runtime,
    kernels: Kernels,
}

impl Rig<'_> {
    fn launch<'s>(
        &self,
        s: &mut Scope<'s, '_>,
        lends: &Lends<'s>,
        step: &Launch,
    ) -> Result<(), Error> {
        let (kernels, n) = (&self.kernels, u32::try_from(step.n).unwrap());
        if step.submit {
            s.submit()?;
        }
        match step.what {
            What::Affine { y, a, c } => {
                let args = affine::Args { y: lends.to(y), n, a, c };
                self.launch_as(s, &kernels.affine, args, step)
            }
            What::Axpby { x, y, a, b } => {
                let args = axpby::Args { x: lends.from(x), y: lends.to(y), n, a, b };
                self.launch_as(s, &kernels.axpby, args, step)
            }
            What::Hadamard { x, y, z } => {
                let args = hadamard::Args { x: lends.from(x), y: lends.from(y), z: lends.to(z), n };
                self.launch_as(s, &kernels.hadamard, args, step)
            }
            What::Gather { x, z } => {
                let (x, index) = (lends.from(x), lends.index.ptr());
                let args = gather::Args { x, index, z: lends.to(z), n };
                self.launch_as(s, &kernels.gather, args, step)
            }
        }
    }

    fn launch_as<'s, K: KernelDesc>(
        &self,
        s: &mut Scope<'s, '_>,
        kernel: &Kernel<K>,
        args: K::Args<'s>,
        step: &Launch,
    ) -> Result<(), Error> {
        let grid = match step.extent {
            Extent::Cover(elements) => Grid::cover(elements),
            Extent::Groups(groups) => Grid::groups(groups, 1, 1),
        };
        if step.how == How::Unchecked && self.runtime.access() == ProvedAccess::Direct {
            // SAFETY: 1. 2. 4. the elements of a launch lie in their lends, and `Launch` has no
            // races; the kernels have no loops; 3. nothing else is written.
            return Ok(unsafe { s.launch_unchecked(kernel, grid, args) }?);
        }
        let options = LaunchOptions::new().proofs(step.how != How::Checked);
        Ok(s.launch_with(kernel, grid, args, &options)?)
    }

    /// The arrays as a program leaves them.
    fn run(&self, program: &Program) -> Result<Arrays, Error> {
        let (index, mut arrays) = (index(), program.before.clone());
        let [read_only, one, two, three, four, five] = &mut arrays;
        let read_only = &*read_only;
        let file = file_with(five);
        let (mut first, mut second) = (map(&file), map(&file));
        let (left, right) = two.split_at_mut(SPLIT);
        self.runtime.scope(|s| {
            let index = s.lend(&index)?;
            let read_only = [s.lend(read_only)?, s.lend(&read_only[AGAIN])?];
            let mut written = vec![
                s.lend_mut(one)?,
                s.lend_mut(left)?,
                s.lend_mut(right)?,
                s.lend_mut(three)?,
                s.lend_mut(four)?,
            ];
            if program.has_file {
                written.push(s.lend_mut(floats(&mut first))?);
                written.push(s.lend_mut(&mut floats(&mut second)[SECOND..])?);
            }
            let lends = Lends { index, read_only, written };
            program.launches.iter().try_for_each(|step| self.launch(s, &lends, step))
        })?;
        five.copy_from_slice(floats(&mut first));
        Ok(arrays)
    }
}

fn file_with(elements: &[f32]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytemuck::cast_slice(elements)).unwrap();
    file
}

fn map(file: &File) -> MmapMut {
    // SAFETY: no other process has the file; references into its mappings are used in turn.
    unsafe { MmapMut::map_mut(file) }.unwrap()
}

fn floats(memory: &mut MmapMut) -> &mut [f32] {
    bytemuck::cast_slice_mut(memory)
}

/// The number that a variable of the environment holds.
fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text} is not a number")))
}

fn run_programs(runtime: &Runtime) {
    let kernels = Kernels {
        affine: runtime.kernel().unwrap(),
        axpby: runtime.kernel().unwrap(),
        hadamard: runtime.kernel().unwrap(),
        gather: runtime.kernel().unwrap(),
    };
    let rig = Rig { runtime, kernels };
    let first = number("FARPTR_PROGRAMS_SEED").unwrap_or(1);
    let count = number("FARPTR_PROGRAMS_COUNT").unwrap_or(COUNT);
    let (mut launches, before) = (0, runtime.stats());
    for seed in first..first + count {
        let program = Program::new(seed);
        let left = rig.run(&program);
        program.check(&left.unwrap_or_else(|error| panic!("{program:?}: {error:?}")));
        launches += program.launches.len() as u64;
    }
    let done = runtime.stats().since(&before);
    assert_eq!(done.launches, launches);
    // Both kinds, if there are many launches.
    let proved = done.proved_launches;
    assert!(count < COUNT || (launches / 4..launches).contains(&proved), "{proved} of {launches}");
}

/// Runs the programs in a child, on the device that reorders. A machine without a device that has
/// this access skips the test.
fn on_a_device_that_reorders(test: &str, builder: fn() -> RuntimeBuilder) {
    if masked::is_child() {
        return run_programs(&build(builder()).unwrap());
    }
    if build(builder()).is_none() {
        return;
    }
    let Some(ended) = masked::again("lavapipe,reorder=yes", test) else { return };
    ended.assert_passed();
    assert!(ended.total("dispatches") > 0);
    assert_eq!(ended.left(), []);
    // If the kernel does not tell what memory a lend is in, any two may be one memory.
    let are_known = Maps::open_with(MapsSource::Query).is_ok();
    assert!(!are_known || ended.total("reordered") > 0, "a barrier stood between any two launches");
}

fn mirrored(backing: Backing) -> RuntimeBuilder {
    Runtime::builder().access(AccessMode::Mirrored).backing(backing)
}

#[test]
fn launches_in_direct_access_are_ordered() {
    let direct = || Runtime::builder().access(AccessMode::Direct);
    on_a_device_that_reorders("launches_in_direct_access_are_ordered", direct);
}

#[test]
fn launches_on_imports_are_ordered() {
    on_a_device_that_reorders("launches_on_imports_are_ordered", || mirrored(Backing::Import));
}

#[test]
fn launches_on_copies_are_ordered() {
    on_a_device_that_reorders("launches_on_copies_are_ordered", || mirrored(Backing::Copy));
}
