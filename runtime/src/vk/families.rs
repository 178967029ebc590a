//! The queue families that farptr takes queues from.

use super::Instance;
use ash::vk::{self, QueueFlags};

/// The families of a physical device, by their indices.
pub(super) struct QueueFamilies {
    /// The one that runs kernels.
    pub(super) compute: Option<u32>,
    /// The bits of its timestamps; 0 if it has none.
    pub(super) timestamp_bits: u32,
    /// The one that copies and does nothing else, if there is one.
    pub(super) transfer: Option<u32>,
}

impl QueueFamilies {
    pub(super) fn of(instance: &Instance, raw: vk::PhysicalDevice) -> Self {
        // SAFETY: 1. `raw` belongs to this live instance.
        let families = unsafe { instance.raw().get_physical_device_queue_family_properties(raw) };
        let flags: Vec<_> = families.iter().map(|family| family.queue_flags).collect();
        let compute = compute(&flags);
        let index = |at: usize| u32::try_from(at).ok();
        Self {
            compute: compute.and_then(index),
            timestamp_bits: compute.map_or(0, |at| families[at].timestamp_valid_bits),
            transfer: transfer(&flags).and_then(index),
        }
    }
}

/// The first family that computes and draws no pictures, else the first one that computes. A queue
/// that draws is shared with the display: long kernels would hold the picture up, and end at the
/// limit that drivers have for pictures.
fn compute(families: &[QueueFlags]) -> Option<usize> {
    let computes = |&at: &usize| families[at].contains(QueueFlags::COMPUTE);
    let draws = |&at: &usize| families[at].contains(QueueFlags::GRAPHICS);
    let mut all = (0..families.len()).filter(computes);
    let first = all.clone().next();
    all.find(|at| !draws(at)).or(first)
}

/// The first family that copies, and neither computes nor draws nor works on videos: its queue is
/// that of the engine for copies.
fn transfer(families: &[QueueFlags]) -> Option<usize> {
    let others = QueueFlags::COMPUTE
        | QueueFlags::GRAPHICS
        | QueueFlags::VIDEO_DECODE_KHR
        | QueueFlags::VIDEO_ENCODE_KHR
        | QueueFlags::OPTICAL_FLOW_NV;
    families
        .iter()
        .position(|family| family.contains(QueueFlags::TRANSFER) && !family.intersects(others))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRANSFER: QueueFlags = QueueFlags::TRANSFER;
    const COMPUTE: QueueFlags = QueueFlags::COMPUTE;
    const DRAWS: QueueFlags = QueueFlags::GRAPHICS;
    const ALL: QueueFlags = QueueFlags::from_raw(DRAWS.as_raw() | COMPUTE.as_raw());
    const VIDEO: QueueFlags = QueueFlags::VIDEO_DECODE_KHR;

    #[test]
    fn kernels_run_on_a_queue_that_draws_no_pictures_where_there_is_one() {
        let cases: [(&[QueueFlags], Option<usize>); 6] = [
            (&[], None),
            (&[TRANSFER, DRAWS], None),
            (&[ALL], Some(0)),
            (&[TRANSFER, ALL, ALL], Some(1)),
            (&[ALL, TRANSFER, COMPUTE, COMPUTE | TRANSFER], Some(2)),
            (&[DRAWS, ALL, COMPUTE], Some(2)),
        ];
        for (families, chosen) in cases {
            assert_eq!(compute(families), chosen, "{families:?}");
        }
    }

    #[test]
    fn copies_have_a_queue_that_does_nothing_else_or_none() {
        let sparse = QueueFlags::SPARSE_BINDING;
        let cases: [(&[QueueFlags], Option<usize>); 5] = [
            (&[], None),
            (&[ALL | TRANSFER], None),
            (&[ALL, COMPUTE | TRANSFER, VIDEO | TRANSFER], None),
            (&[ALL, VIDEO | TRANSFER, TRANSFER | sparse, TRANSFER], Some(2)),
            (&[sparse, ALL, TRANSFER], Some(2)),
        ];
        for (families, chosen) in cases {
            assert_eq!(transfer(families), chosen, "{families:?}");
        }
    }
}
