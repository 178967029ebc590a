//! Modules with several entry points: each is a kernel of its own, launched by name.
//!
//! # Safety
//!
//! The words are assembled from `typed/entries.spvasm`, which spirv-val accepts. `shift` gets
//! pointers to `N` words and the number `N`, `turn` a pointer to `N` words, in whole workgroups.
#![allow(unsafe_code, reason = "words that a driver trusts; the proof is above")]
#![allow(clippy::unwrap_used, reason = "functions that tests call")]

mod common;
#[path = "common/glsl.rs"]
mod glsl;

use farptr::rewrite::ReflectError;
use farptr::{
    AccessMode, Backing, Error, Grid, KernelDesc, KernelError, LaunchError, LaunchOptions, Ptr,
    PtrMut, Runtime,
};
use std::error::Error as _;
use std::sync::OnceLock;

/// Three kernels that have nothing in common but the module.
///
/// - `shift(x, y, n)`, workgroups of 64: `y[i] = 3 x[i] + i / 64` for `i < n`.
/// - `turn(y)`, workgroups of 16: turns each 16 words around, by way of shared memory.
/// - `bound`, workgroups of 8: writes to a bound buffer.
const MODULE: &str = include_str!("typed/entries.spvasm");

/// Whole workgroups of both sizes, over several pages.
const N: usize = 64 * 50;

fn words() -> &'static [u32] {
    static WORDS: OnceLock<Vec<u32>> = OnceLock::new();
    WORDS.get_or_init(|| glsl::assembly("entries", MODULE))
}

struct Shift;

// SAFETY: see the module; two pointers and a number.
unsafe impl KernelDesc for Shift {
    const NAME: &'static str = "shift of entries";
    const ENTRY: Option<&'static str> = Some("shift");
    type Args<'s> = (Ptr<'s, u32>, PtrMut<'s, u32>, u32);
    type Push = [u32; 5];

    fn words() -> &'static [u32] {
        words()
    }

    fn push((x, y, n): Self::Args<'_>) -> [u32; 5] {
        let ([x_low, x_high], [y_low, y_high]) = (x.into(), y.into());
        [x_low, x_high, y_low, y_high, n]
    }
}

struct Turn;

// SAFETY: see the module; one pointer.
unsafe impl KernelDesc for Turn {
    const NAME: &'static str = "turn of entries";
    const ENTRY: Option<&'static str> = Some("turn");
    type Args<'s> = PtrMut<'s, u32>;
    type Push = [u32; 2];

    fn words() -> &'static [u32] {
        words()
    }

    fn push(y: PtrMut<'_, u32>) -> [u32; 2] {
        y.into()
    }
}

/// Does not say which entry point it is, or names one that is not there.
macro_rules! misnamed {
    ($name:ident, $entry:expr) => {
        struct $name;
        // SAFETY: none: the runtime refuses the kernel before a driver sees it.
        unsafe impl KernelDesc for $name {
            const NAME: &'static str = stringify!($name);
            const ENTRY: Option<&'static str> = $entry;
            type Args<'s> = ();
            type Push = [u32; 0];
            fn words() -> &'static [u32] {
                words()
            }
            fn push((): ()) -> [u32; 0] {
                []
            }
        }
    };
}
misnamed!(NotNamed, None);
misnamed!(NotThere, Some("main"));

fn numbers() -> Vec<u32> {
    (1..).map(|i: u32| i.wrapping_mul(0x9e37_79b9)).take(N).collect()
}

/// The numbers after `shift`.
fn shifted() -> Vec<u32> {
    let groups = (0..).flat_map(|group: u32| [group; 64]);
    numbers().iter().zip(groups).map(|(x, group)| x.wrapping_mul(3).wrapping_add(group)).collect()
}

/// Some words after `turn`.
fn turned(words: &[u32]) -> Vec<u32> {
    words.chunks(16).flat_map(|chunk| chunk.iter().rev().copied()).collect()
}

/// A runtime for each way in which a checked launch reaches memory.
fn runtimes() -> Vec<Runtime> {
    let mut all = common::runtimes();
    if std::env::var_os("FARPTR_ACCESS").is_none() {
        let copies = Runtime::builder().access(AccessMode::Mirrored).backing(Backing::Copy);
        all.extend(common::build(copies));
    }
    all
}

#[test]
fn each_entry_point_is_a_kernel_of_its_own() {
    for runtime in runtimes() {
        let (shift, turn) = (runtime.kernel::<Shift>().unwrap(), runtime.kernel::<Turn>().unwrap());
        assert_eq!((shift.local_size(), turn.local_size()), ([64, 1, 1], [16, 1, 1]));
        let x = numbers();
        let (mut y, mut alone) = (vec![0; N], numbers());
        let n = u32::try_from(N).unwrap();
        runtime
            .scope(|s| {
                let (x, y) = (s.lend(&x)?.ptr(), s.lend_mut(&mut y)?.ptr());
                let alone = s.lend_mut(&mut alone)?.ptr();
                // In turns, so that neither stands in for the other.
                s.launch(&shift, Grid::cover(N), (x, y, n))?;
                s.launch(&turn, Grid::cover(N), alone)?;
                s.launch(&turn, Grid::cover(N), y)?;
                Ok(())
            })
            .unwrap();
        assert_eq!(y, turned(&shifted()), "{}", runtime.explain());
        assert_eq!(alone, turned(&numbers()), "{}", runtime.explain());
    }
}

#[test]
fn unchecked_launches_run_the_entry_point_as_it_is() {
    let Some(runtime) = common::direct() else { return };
    let (shift, turn) = (runtime.kernel::<Shift>().unwrap(), runtime.kernel::<Turn>().unwrap());
    let (x, mut y, mut alone) = (numbers(), vec![0; N], numbers());
    let n = u32::try_from(N).unwrap();
    runtime
        .scope(|s| {
            let (x, y) = (s.lend(&x)?.ptr(), s.lend_mut(&mut y)?.ptr());
            let alone = s.lend_mut(&mut alone)?.ptr();
            // SAFETY: N words behind each pointer, which is lent, in whole workgroups.
            unsafe { s.launch_unchecked(&turn, Grid::cover(N), alone) }?;
            // SAFETY: as above.
            unsafe { s.launch_unchecked(&shift, Grid::cover(N), (x, y, n)) }?;
            Ok(())
        })
        .unwrap();
    assert_eq!(y, shifted());
    assert_eq!(alone, turned(&numbers()));
}

#[test]
fn kernels_made_at_run_time_name_theirs() {
    for runtime in runtimes() {
        // SAFETY: see the module.
        let turn = unsafe { runtime.raw_kernel_entry("raw turn", words(), "turn") }.unwrap();
        // SAFETY: as above.
        let shift = unsafe { runtime.raw_kernel_entry("raw shift", words(), "shift") }.unwrap();
        assert_eq!((turn.entry(), turn.push_bytes(), turn.local_size()), ("turn", 8, [16, 1, 1]));
        assert_eq!(
            (shift.entry(), shift.push_bytes(), shift.local_size()),
            ("shift", 20, [64, 1, 1])
        );
        let (x, mut y, options) = (numbers(), vec![0; N], LaunchOptions::new());
        let n = u32::try_from(N).unwrap();
        let failed = runtime.scope(|s| {
            let (x, y) = (s.lend(&x)?.ptr(), s.lend_mut(&mut y)?.ptr());
            let both: Vec<u8> = Shift::push((x, y, n)).map(u32::to_le_bytes).concat();
            let one: Vec<u8> = Turn::push(y).map(u32::to_le_bytes).concat();
            s.launch_raw(&shift, Grid::cover(N), &both, &options)?;
            s.launch_raw(&turn, Grid::cover(N), &one, &options)?;
            s.wait()?;
            // The next is that of the other entry point.
            Ok(s.launch_raw(&turn, Grid::cover(N), &both, &options).unwrap_err())
        });
        let failed = failed.unwrap();
        assert!(matches!(failed, LaunchError::PushSize { declared: 8, given: 20, .. }), "{failed}");
        assert_eq!(y, turned(&shifted()), "{}", runtime.explain());
    }
}

#[test]
fn a_fault_names_the_kernel_of_its_entry_point() {
    for runtime in runtimes() {
        let turn = runtime.kernel::<Turn>().unwrap();
        let mut y = numbers();
        let ended = runtime.scope(|s| {
            let y = s.lend_mut(&mut y[..N - 16])?.ptr();
            Ok(s.launch(&turn, Grid::cover(N), y)?)
        });
        let Err(Error::Launch(LaunchError::Fault(fault))) = ended else {
            panic!("a fault was expected, not {ended:?}");
        };
        assert_eq!((fault.kernel, fault.workgroup[0] as usize), ("turn of entries", N / 16 - 1));
        assert_eq!(y[N - 16..], numbers()[N - 16..], "what was not lent is untouched");
    }
}

/// Why words are no kernel, and the whole message.
fn refusal<T: std::fmt::Debug>(made: Result<T, KernelError>) -> (ReflectError, String) {
    match made {
        Err(error @ KernelError::Words { .. }) => {
            let why = error.source().unwrap().to_string();
            let KernelError::Words { source, .. } = error else { unreachable!() };
            (source, why)
        }
        other => panic!("the words were to be refused, not {other:?}"),
    }
}

#[test]
fn entry_points_that_are_not_named_or_not_there_are_refused() {
    let Some(runtime) = common::runtime() else { return };
    // SAFETY: see the module.
    let raw = |name: &str| unsafe { runtime.raw_kernel_entry("raw", words(), name) };
    // SAFETY: as above.
    let nameless = unsafe { runtime.raw_kernel("raw", words()) };
    for (refused, why) in [refusal(runtime.kernel::<NotNamed>()), refusal(nameless)] {
        assert!(matches!(refused, ReflectError::SeveralEntries { .. }), "{refused:?}");
        assert!(why.contains("`bound`, `turn`, `shift`"), "{why}");
    }
    for (refused, why) in [refusal(runtime.kernel::<NotThere>()), refusal(raw("main"))] {
        assert!(matches!(refused, ReflectError::NoSuchEntry { .. }), "{refused:?}");
        assert!(why.contains("`main`; it has `bound`, `turn`, `shift`"), "{why}");
    }
    let bound = raw("bound").unwrap_err();
    assert!(matches!(bound, KernelError::Descriptors { descriptors: 1, .. }), "{bound}");
    // A refusal does not stop other launches.
    assert_eq!(raw("shift").unwrap().local_size(), [64, 1, 1]);
}
