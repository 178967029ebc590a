//! The error for a fault: it names the access, the argument, the place in the source, the reason
//! and the nearest lend. Pure.

use super::{
    control_block::Root,
    log::{FaultRecord, Place},
};
use crate::{
    Argument, Fault, FaultReason, Nearest,
    lend::lends::{Lends, Segment},
};
use farptr_hmm::{VaRange, VirtAddr};
use farptr_rewrite::{AccessKind, Analysis, Check, Site};

/// A launch, as far as the errors for its faults need it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Launched<'l> {
    pub(crate) kernel: &'static str,
    pub(crate) analysis: &'l Analysis,
    /// The names of the push constants, by offset.
    pub(crate) names: &'l [(u32, String)],
    pub(crate) roots: &'l [Root],
    pub(crate) lends: &'l Lends,
}

impl Launched<'_> {
    /// The address of the access that faulted.
    pub(crate) fn address(&self, record: &FaultRecord) -> u64 {
        match record.place {
            Place::Address(address) => address,
            Place::Index(index) => self.address_of_index(record, index).unwrap_or(0),
        }
    }

    fn site(&self, record: &FaultRecord) -> Option<&Site> {
        self.analysis.sites.get(record.site)
    }

    fn address_of_index(&self, record: &FaultRecord, index: i32) -> Option<u64> {
        let check = match self.site(record)?.check {
            Check::Index(check) => check,
            Check::Own => return Some(i64::from(index).cast_unsigned()),
            Check::Address(_) => return None,
        };
        let check = self.analysis.index_checks.get(check)?;
        let steps = i64::from(index).wrapping_mul(i64::from(check.stride_bytes));
        let zero = self.roots.get(check.root)?.address.wrapping_add(check.offset_bytes.into());
        Some(zero.wrapping_add_signed(steps))
    }

    /// Bytes, alignment, and the pointer whose index was checked, if an index was.
    fn extent(&self, site: Option<&Site>) -> (u32, u32, Option<&Root>) {
        let extent = match site.map(|site| site.check) {
            Some(Check::Index(check)) => self
                .analysis
                .index_checks
                .get(check)
                .map(|check| (check.size_bytes, check.align_bytes, self.roots.get(check.root))),
            Some(Check::Address(check)) => {
                let check = self.analysis.address_checks.get(check);
                check.map(|check| (check.size_bytes, check.align_bytes, None))
            }
            Some(Check::Own) | None => None,
        };
        extent.unwrap_or((1, 1, None))
    }

    /// The pointer whose index was checked, if an index was.
    fn argument(&self, site: Option<&Site>) -> Option<Argument> {
        let Check::Index(check) = site?.check else { return None };
        let position = self.analysis.index_checks.get(check)?.root;
        let &root = self.analysis.roots.get(position)?;
        let farptr_rewrite::Root::Push { offset_bytes } = root;
        let name = self.names.iter().find(|&&(at, _)| at == offset_bytes);
        let name = name.map(|(_, name)| name.clone());
        Some(Argument { name, offset_bytes, address: self.roots.get(position)?.address })
    }

    /// The site and the address of the access that was not allowed. If several accesses were
    /// checked together, it is the first of them that is not allowed.
    fn culprit(&self, record: &FaultRecord) -> (usize, u64) {
        let address = self.address(record);
        let started = self.analysis.joints.iter().find_map(|joint| match joint.members[..] {
            [(site, bytes), ..] if site == record.site => {
                Some((joint, address.wrapping_sub(bytes)))
            }
            _ => None,
        });
        let (Some((joint, start)), Place::Address(_)) = (started, record.place) else {
            return (record.site, address);
        };
        let accesses = joint.members.iter().map(|&(site, bytes)| (site, start.wrapping_add(bytes)));
        let mut refused = accesses.filter(|&(site, at)| !self.allows(site, at));
        refused.next().unwrap_or((record.site, address))
    }

    /// Whether an access may happen at an address.
    fn allows(&self, site: usize, address: u64) -> bool {
        let Some(site) = self.analysis.sites.get(site) else { return false };
        let (size_bytes, align_bytes, _) = self.extent(Some(site));
        let owner = self.lends.containing(VirtAddr::new(address));
        refusal(address, size_bytes, align_bytes, site.access, owner).is_none()
    }

    /// The address of an access if its index, which was negative, were an unsigned number; `None`
    /// if the access is not allowed there.
    fn unsigned_address(
        &self,
        record: &FaultRecord,
        site: usize,
        owner: Option<&Segment>,
    ) -> Option<u64> {
        let site = self.analysis.sites.get(site)?;
        let (stride, owner) = match (site.check, record.place) {
            (Check::Index(check), Place::Index(index)) if index < 0 => {
                (self.analysis.index_checks.get(check)?.stride_bytes, owner.copied())
            }
            // The stride is not known; most often it is the size.
            (Check::Address(check), Place::Address(_)) => {
                (self.analysis.address_checks.get(check)?.size_bytes, None)
            }
            _ => return None,
        };
        let meant = self.address(record).wrapping_add(u64::from(stride) << 32);
        let (size, align, _) = self.extent(Some(site));
        let owner = owner.or_else(|| self.lends.containing(VirtAddr::new(meant)).copied());
        refusal(meant, size, align, site.access, owner.as_ref()).is_none().then_some(meant)
    }

    /// The error for a fault. `denial` says why the page of its address cannot be brought in, if
    /// that is why the launch ended.
    pub(crate) fn fault(&self, record: &FaultRecord, denial: Option<FaultReason>) -> Fault {
        let (culprit, address) = self.culprit(record);
        let site = self.analysis.sites.get(culprit);
        let (size_bytes, align_bytes, root) = self.extent(site);
        let access = site.map_or(AccessKind::Read, |site| site.access);
        // An access that is checked by its index belongs to the lend of its pointer; one that is
        // checked by its address belongs to the lend that contains the address.
        let meant = root.and_then(|root| root.segment);
        let owner = match root {
            Some(_) => meant,
            None => self.lends.containing(VirtAddr::new(address)).copied(),
        };
        let own = site.is_some_and(|site| site.check == Check::Own);
        let reason = if own {
            FaultReason::OwnVariable
        } else {
            reason(address, size_bytes, align_bytes, access, owner.as_ref())
        };
        let (address, reason) = match self.unsigned_address(record, culprit, owner.as_ref()) {
            Some(meant) if reason == FaultReason::OutOfBounds => {
                (meant, FaultReason::IndexTooLarge)
            }
            // An index that is too large was meant for a lend: the denial is about another address.
            _ => (address, denial.unwrap_or(reason)),
        };
        let near = meant.or_else(|| self.lends.nearest(VirtAddr::new(address)).copied());
        let near = near.filter(|_| !own);
        Fault {
            kernel: self.kernel,
            address,
            access,
            size_bytes,
            argument: self.argument(site),
            instruction: instruction(site),
            line: site.and_then(|site| site.line.clone()),
            workgroup: record.group,
            invocation: record.invocation,
            reason,
            nearest: near.map(|segment| nearest(address, segment.range)),
        }
    }
}

/// Why an access faulted: if nothing else forbids it, an index left the lend of its pointer.
fn reason(
    address: u64,
    size_bytes: u32,
    align_bytes: u32,
    access: AccessKind,
    owner: Option<&Segment>,
) -> FaultReason {
    refusal(address, size_bytes, align_bytes, access, owner).unwrap_or(FaultReason::OutOfBounds)
}

/// Why an access is not allowed that belongs to `owner`, if to any lend; `None` if it is.
fn refusal(
    address: u64,
    size_bytes: u32,
    align_bytes: u32,
    access: AccessKind,
    owner: Option<&Segment>,
) -> Option<FaultReason> {
    let inside = |segment: &&Segment| {
        let end = address.checked_add(size_bytes.into());
        address >= segment.range.start().get()
            && end.is_some_and(|end| end <= segment.range.end().get())
    };
    match owner.filter(inside) {
        None => Some(FaultReason::OutOfBounds),
        Some(segment) if access.writes() && !segment.writable => Some(FaultReason::ReadOnly),
        Some(_) if !address.is_multiple_of(align_bytes.max(1).into()) => {
            Some(FaultReason::Misaligned)
        }
        Some(_) => None,
    }
}

fn nearest(address: u64, range: VaRange) -> Nearest {
    let offset = i128::from(address) - i128::from(range.start().get());
    let clamped = offset.clamp(i64::MIN.into(), i64::MAX.into());
    Nearest { range, offset_bytes: i64::try_from(clamped).expect("clamped to what fits") }
}

fn instruction(site: Option<&Site>) -> String {
    let Some(site) = site else { return "an unknown instruction".to_owned() };
    match &site.line {
        Some(line) => format!("{} at {}:{}", site.instruction, line.file, line.line),
        None => site.instruction.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::fault::Offset;

    fn segment(writable: bool) -> Segment {
        let range = VaRange::new(VirtAddr::new(1000), VirtAddr::new(1100)).unwrap();
        Segment { range, writable, delta: Some(0), private: None }
    }

    #[test]
    fn the_reason_is_the_first_that_holds() {
        let why = |address, size, align, access, writable| {
            reason(address, size, align, access, Some(&segment(writable)))
        };
        assert_eq!(why(1000, 4, 4, AccessKind::Write, false), FaultReason::ReadOnly);
        assert_eq!(why(1002, 4, 4, AccessKind::Atomic, true), FaultReason::Misaligned);
        assert_eq!(why(1096, 4, 4, AccessKind::Read, true), FaultReason::OutOfBounds);
        assert_eq!(why(1098, 4, 4, AccessKind::Write, false), FaultReason::OutOfBounds);
        assert_eq!(why(998, 4, 4, AccessKind::Write, false), FaultReason::OutOfBounds);
        assert_eq!(why(u64::MAX, 4, 4, AccessKind::Read, true), FaultReason::OutOfBounds);
        assert_eq!(reason(0, 4, 4, AccessKind::Read, None), FaultReason::OutOfBounds);
        assert_eq!(refusal(1096, 4, 4, AccessKind::Read, Some(&segment(false))), None);
    }

    #[test]
    fn offsets_are_said_in_words() {
        let range = segment(true).range;
        let say = |address| {
            let near = nearest(address, range);
            (near.offset_bytes, Offset(near.offset_bytes, &range).to_string())
        };
        assert_eq!(say(996), (-4, "4 bytes before".to_owned()));
        assert_eq!(say(1008), (8, "8 bytes into".to_owned()));
        assert_eq!(say(1104), (104, "4 bytes after the end of".to_owned()));
        assert_eq!(say(0).0, -1000);
        assert_eq!(say(u64::MAX).0, i64::MAX);
    }

    #[test]
    fn a_record_of_no_known_site_still_gives_an_error() {
        let (analysis, lends) = (Analysis::default(), Lends::default());
        let launched =
            Launched { kernel: "k", analysis: &analysis, names: &[], roots: &[], lends: &lends };
        let record =
            FaultRecord { place: Place::Address(16), site: 7, group: [1, 2, 3], invocation: 4 };
        let text = launched.fault(&record, None).to_string();
        assert!(text.contains("at 0x10 goes through a null pointer: an unknown"), "{text}");
        let record = FaultRecord { place: Place::Address(0x1_0000), ..record };
        let text = launched.fault(&record, None).to_string();
        assert!(text.contains("at 0x10000 is out of bounds") && text.contains("nothing was lent"));
    }
}
