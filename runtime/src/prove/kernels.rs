//! The three kernels that a runtime launches while it is built.
//!
//! Their words are checked in beside this file, so that the runtime needs no GLSL compiler, which
//! is C++. The sources are `probe.comp`, `offsets.comp` and `endless.comp` in
//! `shaders/kernels/glsl`, whose first lines say what the kernels do; a test below compiles them
//! again and compares. After a change:
//!
//! ```sh
//! cargo run -p farptr-kernels --example words probe > runtime/src/prove/probe.spv
//! cargo run -p farptr-kernels --example words offsets > runtime/src/prove/offsets.spv
//! cargo run -p farptr-kernels --example words endless > runtime/src/prove/endless.spv
//! ```

use bytemuck::{Pod, Zeroable};
use farptr_rewrite::{Ptr, PtrMut};

/// The name and the SPIR-V words of a kernel whose words are checked in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CheckedIn {
    pub(crate) name: &'static str,
    pub(crate) words: &'static [u32],
}

/// Follows a chain of links, and reports how many it saw and what they held.
pub(crate) const PROBE: CheckedIn = CheckedIn { name: "probe", words: &PROBE_WORDS };

/// Reads an element behind an address that it finds in memory.
pub(crate) const OFFSETS: CheckedIn = CheckedIn { name: "offsets", words: &OFFSETS_WORDS };

/// Makes passes through a loop, and says now and then how many.
pub(crate) const ENDLESS: CheckedIn = CheckedIn { name: "endless", words: &ENDLESS_WORDS };

const PROBE_BYTES: &[u8] = include_bytes!("probe.spv");
static PROBE_WORDS: [u32; PROBE_BYTES.len() / 4] = words_of(PROBE_BYTES);

const OFFSETS_BYTES: &[u8] = include_bytes!("offsets.spv");
static OFFSETS_WORDS: [u32; OFFSETS_BYTES.len() / 4] = words_of(OFFSETS_BYTES);

const ENDLESS_BYTES: &[u8] = include_bytes!("endless.spv");
static ENDLESS_WORDS: [u32; ENDLESS_BYTES.len() / 4] = words_of(ENDLESS_BYTES);

/// The little-endian words of a file.
const fn words_of<const COUNT: usize>(bytes: &[u8]) -> [u32; COUNT] {
    assert!(bytes.len() == COUNT * 4);
    let mut words = [0; COUNT];
    let mut at = 0;
    while at < COUNT {
        let byte = at * 4;
        words[at] =
            u32::from_le_bytes([bytes[byte], bytes[byte + 1], bytes[byte + 2], bytes[byte + 3]]);
        at += 1;
    }
    words
}

/// The push constants of [`PROBE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct ProbePush {
    head: [u32; 2],
    result: [u32; 2],
    limit: u32,
}

impl ProbePush {
    /// The first link's address, two words for the result, and the most links to follow.
    pub(crate) fn new(head: Ptr<'_, u64>, result: PtrMut<'_, u32>, limit: u32) -> Self {
        Self { head: head.into(), result: result.into(), limit }
    }
}

/// The push constants of [`OFFSETS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct OffsetsPush {
    address: [u32; 2],
    result: [u32; 2],
    index: u32,
}

impl OffsetsPush {
    /// The place of an address, a word for the element, and the element's position behind the
    /// address.
    pub(crate) fn new(address: Ptr<'_, u64>, result: PtrMut<'_, u32>, index: u32) -> Self {
        Self { address: address.into(), result: result.into(), index }
    }
}

/// The push constants of [`ENDLESS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct EndlessPush {
    result: [u32; 2],
    passes: u32,
}

impl EndlessPush {
    /// Two words for the passes so far and for a sign of the end, and the passes to make.
    pub(crate) fn new(result: PtrMut<'_, u32>, passes: u32) -> Self {
        Self { result: result.into(), passes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use farptr_kernels::{KernelDesc, endless, offsets, probe};
    use std::io::Write;

    /// The word of a module that says which compiler, in which version, has made it.
    const GENERATOR: usize = 2;

    /// Compares words that are checked in with those that `farptr-kernels` was built with.
    fn compare(checked_in: CheckedIn, compiled: &[u32]) {
        let name = checked_in.name;
        if checked_in.words[GENERATOR] != compiled[GENERATOR] {
            // Straight to the stream: what a passing test prints with macros is captured.
            let line = format!("SKIP {name}.spv was made by another version of the compiler\n");
            let _ = std::io::stderr().write_all(line.as_bytes());
            return;
        }
        assert!(
            checked_in.words == compiled,
            "{name}.comp no longer gives the words in runtime/src/prove/{name}.spv; run 'cargo run \
             -p farptr-kernels --example words {name} > runtime/src/prove/{name}.spv'",
        );
    }

    #[test]
    fn the_words_are_those_of_the_sources() {
        compare(PROBE, probe::Kernel::words());
        compare(OFFSETS, offsets::Kernel::words());
        compare(ENDLESS, endless::Kernel::words());
        assert_eq!(PROBE.name, probe::Kernel::NAME);
        assert_eq!(OFFSETS.name, offsets::Kernel::NAME);
        assert_eq!(ENDLESS.name, endless::Kernel::NAME);
    }

    #[test]
    fn the_push_constants_are_those_of_the_sources() {
        let (address, result) = (Ptr::from_address(1 << 33 | 5), PtrMut::from_address(1 << 34 | 6));
        let ours = ProbePush::new(address, result, 7);
        let theirs = probe::Kernel::push(probe::Args { head: address, result, limit: 7 });
        assert_eq!(bytemuck::bytes_of(&ours), bytemuck::bytes_of(&theirs));
        let ours = OffsetsPush::new(address, result, 7);
        let theirs = offsets::Kernel::push(offsets::Args { address, result, index: 7 });
        assert_eq!(bytemuck::bytes_of(&ours), bytemuck::bytes_of(&theirs));
        let ours = EndlessPush::new(result, 7);
        let theirs = endless::Kernel::push(endless::Args { result, passes: 7 });
        assert_eq!(bytemuck::bytes_of(&ours), bytemuck::bytes_of(&theirs));
    }
}
