//! The start-up proof of direct access.
//!
//! Protocol: map fresh pages; import them, which compares their host and device addresses; lay a
//! chain of links through the pages, one per page in a scattered order, by host address; let the
//! probe kernel follow it; compare what it saw with what was laid. Only a device that passes runs
//! kernels on host pointers. Nothing is concluded from a device's name.
//!
//! Mirrored access is proved in the same way, without the comparison: the probe is rewritten, and
//! follows the same host pointers by translating them.
//!
//! The simpler form, comparing addresses alone, was rejected: it says what the driver reports, not
//! what a load does. The chain alone was rejected too: on a device with other addresses it would
//! follow a wild pointer, so the comparison comes first.
//!
//! # Safety
//!
//! The probe kernel is farptr's own; it touches the chain that it is given and the words of its
//! result. Both are leaked if the device is lost meanwhile.
#![allow(unsafe_code, reason = "it launches the probe, with the argument above")]

use crate::{
    Error, LaunchError, LaunchOptions, Scope,
    config::Config,
    kernel::code::Code,
    launch::{
        checked::Request, control_block::words, grid::Dispatch, launcher::Launcher, stream::Plain,
    },
    prove::kernels::{PROBE, ProbePush},
    scope::with_scope,
};
use farptr_hmm::VirtAddr;
use farptr_rewrite::Ptr;
use memmap2::MmapMut;
use std::sync::Arc;

/// Links in the chain, one per page.
pub(crate) const LINKS: u32 = 64;
/// Bytes of a link: the next link's address or 0, and the payload, a word.
const LINK_BYTES: usize = 12;
/// Coprime to [`LINKS`], so that multiples visit every page.
const STRIDE: u32 = 37;
/// More than [`LINKS`], so that a chain that does not end is noticed.
const LIMIT: u32 = LINKS + 1;

/// The report of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sighting {
    links: u32,
    mix: u32,
}

/// Why a device does not have an access mode.
#[derive(Debug)]
pub(crate) enum Disproof {
    /// Pages for the chain could not be mapped.
    NoMemory(std::io::Error),
    /// Import, comparison of addresses or launch failed.
    Failed(Error),
    /// The kernel did not see the chain that was laid.
    WrongChain { saw: u32 },
}

/// Proves that kernels on a device can follow host pointers in the configured way, or says what
/// went wrong.
pub(crate) fn prove(
    launcher: &Arc<Launcher>,
    config: &Arc<Config>,
    probe: &Arc<Code>,
) -> Result<(), Disproof> {
    let page_bytes = farptr_hmm::PageSize::host().bytes();
    let page_bytes = usize::try_from(page_bytes).expect("a page fits the address space");
    let mut pages = MmapMut::map_anon(LINKS as usize * page_bytes).map_err(Disproof::NoMemory)?;
    let mut result = MmapMut::map_anon(page_bytes).map_err(Disproof::NoMemory)?;
    let (head, expected) = lay_chain(&mut pages, page_bytes);
    let seen: &mut [u32] = bytemuck::cast_slice_mut(&mut result[..8]);
    let followed = with_scope(launcher, &returning(config), |scope| {
        scope.import(&pages[..])?;
        let result = scope.import_mut(seen)?.ptr();
        let push = ProbePush::new(Ptr::from_address(head), result, LIMIT);
        Ok(follow(scope, probe, bytemuck::bytes_of(&push), config)?)
    });
    if launcher.device().check().is_err() {
        // The device may still be using them.
        std::mem::forget((pages, result));
        return Err(followed.map_or_else(Disproof::Failed, |()| Disproof::WrongChain { saw: 0 }));
    }
    followed.map_err(Disproof::Failed)?;
    let seen: &[u32] = bytemuck::cast_slice(&result[..8]);
    let saw = Sighting { links: seen[0], mix: seen[1] };
    if saw == expected { Ok(()) } else { Err(Disproof::WrongChain { saw: saw.links }) }
}

/// A configuration whose scopes return if the device is lost, so that another one can be tried.
/// What is lent to them has to be leaked then.
pub(super) fn returning(config: &Config) -> Arc<Config> {
    Arc::new(Config { assumes_stopped: true, proofs: false, ..config.clone() })
}

/// Writes one link at the start of each page, each with the address of the next.
fn lay_chain(pages: &mut [u8], page_bytes: usize) -> (u64, Sighting) {
    let page_of = |position: u32| (position * STRIDE % LINKS) as usize * page_bytes;
    let base = VirtAddr::of_slice(pages).get();
    let address = |position: u32| base + page_of(position) as u64;
    let mut mix = 0;
    for position in 0..LINKS {
        let next = if position + 1 == LINKS { 0 } else { address(position + 1) };
        let payload = (position + 1).wrapping_mul(0x9e37_79b9);
        mix ^= payload;
        let [low, high] = words(next);
        let at = page_of(position);
        let link = [low, high, payload];
        pages[at..at + LINK_BYTES].copy_from_slice(bytemuck::cast_slice(&link));
    }
    (address(0), Sighting { links: LINKS, mix })
}

/// Runs the probe: as it is in direct access, rewritten in mirrored access.
fn follow(
    scope: &mut Scope<'_, '_>,
    probe: &Arc<Code>,
    push: &[u8],
    config: &Config,
) -> Result<(), LaunchError> {
    let dispatch = Dispatch::of([1, 1, 1]);
    if config.is_direct() {
        let pipeline = &probe.unchecked(PROBE.name, dispatch.fold(), false)?;
        let launch = Plain { kernel: PROBE.name, pipeline, push, dispatch, touched: None };
        // SAFETY: 1. the probe was compiled as it is for this device and its push constants, and
        // one group keeps every limit; 2. the kernel reads links of the pages of the chain, whose
        // device addresses equal their host addresses or `import` would have failed, and writes
        // two words of the result; both are borrowed by this scope.
        return unsafe { scope.launch_as_is(&launch) };
    }
    let options = LaunchOptions::new();
    let request = Request { kernel: PROBE.name, code: probe, dispatch, push, options: &options };
    scope.launch_request(&request)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_visits_every_page_once_and_ends() {
        let page_bytes = 4096;
        let mut pages = vec![0u64; LINKS as usize * page_bytes / 8];
        let pages: &mut [u8] = bytemuck::cast_slice_mut(&mut pages);
        let (head, expected) = lay_chain(pages, page_bytes);
        let base = VirtAddr::of_slice(pages).get();
        let (mut address, mut links, mut mix) = (head, 0, 0);
        let mut seen = vec![false; LINKS as usize];
        while address != 0 {
            let at = usize::try_from(address - base).unwrap();
            assert!(!std::mem::replace(&mut seen[at / page_bytes], true));
            let link: [u32; 3] = bytemuck::pod_read_unaligned(&pages[at..at + LINK_BYTES]);
            let [low, high, payload] = link.map(u64::from);
            address = low | high << 32;
            (links, mix) = (links + 1, mix ^ u32::try_from(payload).unwrap());
        }
        assert_eq!(Sighting { links, mix }, expected);
    }
}
