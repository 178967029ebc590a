//! How many invocations a launch runs.

use super::control_block::Row;
use crate::{LaunchError, vk::info::Limits};
use farptr_rewrite::Fold;

/// Invocations in one dimension: their numbers have 32 bits.
const MAX_INVOCATIONS: u64 = 1 << 32;

/// How many invocations a launch runs.
///
/// # Examples
///
/// ```
/// use farptr::Grid;
///
/// let elements = vec![0.0f32; 1000];
/// let one_each = Grid::cover(elements.len());
/// let (width, height) = (640, 480);
/// let one_per_pixel = Grid::cover_2d(width, height);
/// let by_hand = Grid::groups(16, 1, 1);
/// # let _ = (one_each, one_per_pixel, by_hand);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid(Extent);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extent {
    /// At least so many invocations, and the number of dimensions that the caller gave.
    Cover([usize; 3], u8),
    Groups([u32; 3]),
}

impl Grid {
    /// At least `invocations` invocations along x, in whole workgroups.
    ///
    /// The kernel's workgroups must have one dimension, and it must do nothing for an index of
    /// `invocations` or more: there may be some more invocations in the last workgroup. Devices
    /// limit the workgroups of a dimension (65,535 is common); covering grids do not: whatever the
    /// size, `gl_GlobalInvocationID.x`, `gl_WorkGroupID.x` and `gl_NumWorkGroups.x` are what they
    /// would be without that limit, and exactly one invocation has each index.
    #[must_use]
    pub const fn cover(invocations: usize) -> Self {
        Self(Extent::Cover([invocations, 1, 1], 1))
    }

    /// At least `x` by `y` invocations, in whole workgroups of at most two dimensions.
    ///
    /// As [`cover`](Self::cover) otherwise: the kernel compares its place with `x` and `y`, and no
    /// device limits them.
    #[must_use]
    pub const fn cover_2d(x: usize, y: usize) -> Self {
        Self(Extent::Cover([x, y, 1], 2))
    }

    /// At least `x` by `y` by `z` invocations, in whole workgroups.
    ///
    /// As [`cover`](Self::cover) otherwise: the kernel compares its place with `x`, `y` and `z`,
    /// and no device limits them.
    #[must_use]
    pub const fn cover_3d(x: usize, y: usize, z: usize) -> Self {
        Self(Extent::Cover([x, y, z], 3))
    }

    /// Exactly this many workgroups in each dimension, no more than the device allows.
    #[must_use]
    pub const fn groups(x: u32, y: u32, z: u32) -> Self {
        Self(Extent::Groups([x, y, z]))
    }

    /// Resolves the grid for a kernel's workgroup size, within a device's limits.
    pub(crate) fn resolve(
        self,
        kernel: &'static str,
        local_size: [u32; 3],
        limits: &Limits,
    ) -> Result<Dispatch, LaunchError> {
        let groups = match self.0 {
            Extent::Groups(groups) => groups,
            Extent::Cover(invocations, dimensions) => {
                let [_, y, z] = local_size;
                match dimensions {
                    1 if (y, z) != (1, 1) => {
                        return Err(LaunchError::NotOneDimensional { kernel, local_size });
                    }
                    2 if z != 1 => {
                        return Err(LaunchError::NotTwoDimensional { kernel, local_size });
                    }
                    _ => whole_groups(invocations, kernel, local_size)?,
                }
            }
        };
        if groups.contains(&0) {
            return Err(LaunchError::EmptyGrid { kernel });
        }
        let limit = limits.groups;
        let fits = groups.iter().zip(limit).all(|(&asked, limit)| asked <= limit);
        if !fits && matches!(self.0, Extent::Groups(_)) {
            return Err(LaunchError::GridTooLarge { kernel, groups, limit });
        }
        check_numbers(groups, kernel, local_size)?;
        if fits {
            return Ok(Dispatch::of(groups));
        }
        let folded = fold(groups, limit);
        let folded = folded.ok_or(LaunchError::TooManyWorkgroups { kernel, groups, limit })?;
        let seen = Some(Virtual { groups, local_size });
        Ok(Dispatch { groups: folded, seen })
    }
}

/// The workgroups of each dimension that cover so many invocations.
fn whole_groups(
    invocations: [usize; 3],
    kernel: &'static str,
    local_size: [u32; 3],
) -> Result<[u32; 3], LaunchError> {
    let mut groups = [0; 3];
    for ((groups, invocations), size) in groups.iter_mut().zip(invocations).zip(local_size) {
        // Numbers beyond 32 bits are beyond the limit, whatever the size.
        let invocations = u64::try_from(invocations).unwrap_or(u64::MAX);
        let counted = u32::try_from(invocations.div_ceil(size.max(1).into()));
        *groups = counted.map_err(|_| too_many(kernel, invocations, size))?;
    }
    Ok(groups)
}

/// Whether 32 bits are enough for the numbers of all invocations, those of the last workgroups
/// included.
fn check_numbers(
    groups: [u32; 3],
    kernel: &'static str,
    local_size: [u32; 3],
) -> Result<(), LaunchError> {
    for (groups, size) in groups.into_iter().zip(local_size) {
        let invocations = u64::from(groups) * u64::from(size);
        if invocations > MAX_INVOCATIONS {
            return Err(too_many(kernel, invocations, size));
        }
    }
    Ok(())
}

fn too_many(kernel: &'static str, invocations: u64, size: u32) -> LaunchError {
    let size = u64::from(size.max(1));
    LaunchError::TooManyInvocations { kernel, invocations, limit: MAX_INVOCATIONS / size * size }
}

/// A grid within the limits that has at least as many workgroups, and fewer than 2^32; or nothing
/// where there is none.
fn fold(groups: [u32; 3], limit: [u32; 3]) -> Option<[u32; 3]> {
    let product = |[x, y, z]: [u64; 3]| x.checked_mul(y)?.checked_mul(z);
    let total = product(groups.map(u64::from)).filter(|&total| total <= u64::from(u32::MAX))?;
    let [columns, rows, layers] = limit.map(|limit| u64::from(limit.max(1)));
    // As few as possible in z, then in y, and then the shortest lines.
    let lines = total.div_ceil(columns);
    let depth = lines.div_ceil(rows);
    let height = lines.div_ceil(depth);
    let width = total.div_ceil(height * depth);
    let all = product([width, height, depth])?;
    let fits = depth <= layers && all <= u64::from(u32::MAX);
    let [x, y, z] = [width, height, depth].map(|count| u32::try_from(count).ok());
    fits.then_some([x?, y?, z?])
}

/// The workgroups of a launch: those that the device dispatches, and those that the kernel sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dispatch {
    /// Workgroups to dispatch, within the device's limits.
    pub(crate) groups: [u32; 3],
    /// The grid that the kernel sees, if it is another one.
    seen: Option<Virtual>,
}

/// The grid that a folded kernel sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Virtual {
    groups: [u32; 3],
    local_size: [u32; 3],
}

impl Dispatch {
    /// Workgroups that are within the limits of every device.
    pub(crate) fn of(groups: [u32; 3]) -> Self {
        Self { groups, seen: None }
    }

    /// The workgroups that the kernel sees.
    pub(crate) fn seen_groups(&self) -> [u32; 3] {
        self.seen.map_or(self.groups, |seen| seen.groups)
    }

    /// The form of kernels that this needs.
    pub(crate) fn fold(&self) -> Fold {
        match self.seen {
            None => Fold::None,
            Some(Virtual { groups: [_, 1, 1], .. }) => Fold::Line,
            Some(_) => Fold::Space,
        }
    }

    /// The control rows of the virtual grid, if there is one.
    pub(crate) fn rows(&self) -> Option<[Row; 2]> {
        let Virtual { groups: [x, y, z], local_size: [width, height, depth] } = self.seen?;
        // `fold` saw that it is a 32-bit number.
        let total = x.wrapping_mul(y).wrapping_mul(z);
        Some([[x, y, z, total], [width, height, depth, 0]])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn limits(groups: [u32; 3]) -> Limits {
        Limits {
            groups,
            group_size: [1024, 1, 1],
            group_invocations: 1024,
            shared_bytes: 32 << 10,
            push_bytes: 128,
            allocation_bytes: 1 << 30,
            allocations: 4096,
        }
    }

    fn resolved(grid: Grid, local_size: [u32; 3], limits: &Limits) -> ([u32; 3], Fold) {
        let dispatch = grid.resolve("k", local_size, limits).unwrap();
        (dispatch.groups, dispatch.fold())
    }

    #[test]
    fn what_the_device_allows_is_dispatched_as_it_is() {
        let limits = limits([65_535; 3]);
        let line = |count| resolved(Grid::cover(count), [64, 1, 1], &limits);
        assert_eq!(line(1), ([1, 1, 1], Fold::None));
        assert_eq!(line(64), ([1, 1, 1], Fold::None));
        assert_eq!(line(65), ([2, 1, 1], Fold::None));
        assert_eq!(line(65_535 * 64), ([65_535, 1, 1], Fold::None));
        assert_eq!(line(65_535 * 64 + 1), ([32_768, 2, 1], Fold::Line));
        let flat = Grid::cover_2d(17, 9);
        assert_eq!(resolved(flat, [8, 8, 1], &limits), ([3, 2, 1], Fold::None));
        let tall = Grid::cover_2d(1, 65_536);
        assert_eq!(resolved(tall, [1, 1, 1], &limits), ([32_768, 2, 1], Fold::Space));
    }

    #[test]
    fn empty_grids_are_refused() {
        let limits = limits([65_535; 3]);
        let empty = Err(LaunchError::EmptyGrid { kernel: "k" });
        let grids = [
            Grid::cover(0),
            Grid::cover_2d(4, 0),
            Grid::cover_2d(0, 4),
            Grid::cover_3d(4, 4, 0),
            Grid::groups(3, 0, 1),
        ];
        for grid in grids {
            assert_eq!(grid.resolve("k", [64, 1, 1], &limits), empty, "{grid:?}");
        }
    }

    #[test]
    fn grids_that_cannot_be_numbered_or_folded_are_refused() {
        let small = limits([8, 4, 2]);
        let refusal = |grid: Grid, local_size, limits: &Limits| {
            grid.resolve("k", local_size, limits).unwrap_err()
        };
        let error = refusal(Grid::groups(9, 1, 1), [64, 1, 1], &small);
        assert!(matches!(error, LaunchError::GridTooLarge { .. }), "{error}");
        assert!(Grid::cover(64 * 64).resolve("k", [64, 1, 1], &small).is_ok());
        let error = refusal(Grid::cover(64 * 64 + 1), [64, 1, 1], &small);
        assert!(matches!(error, LaunchError::TooManyWorkgroups { .. }), "{error}");
        let wide = limits([u32::MAX; 3]);
        for grid in
            [Grid::cover(usize::MAX), Grid::cover((1 << 32) + 1), Grid::groups(1 << 27, 1, 1)]
        {
            let error = refusal(grid, [64, 1, 1], &wide);
            assert!(matches!(error, LaunchError::TooManyInvocations { .. }), "{error}");
        }
        let error = refusal(Grid::cover_3d(1, 1, (1 << 32) + 1), [1, 1, 1], &wide);
        assert!(matches!(error, LaunchError::TooManyInvocations { .. }), "{error}");
        let error = refusal(Grid::cover((1 << 32) - 1), [100, 1, 1], &wide);
        let LaunchError::TooManyInvocations { limit, .. } = error else { panic!("{error}") };
        assert_eq!(limit, (1 << 32) / 100 * 100, "the last workgroup's numbers would wrap");
        assert!(Grid::cover(1 << 32).resolve("k", [64, 1, 1], &wide).is_ok());
        let error = refusal(Grid::cover_3d(1 << 16, 1 << 16, 2), [1, 1, 1], &limits([9000; 3]));
        assert!(matches!(error, LaunchError::TooManyWorkgroups { .. }), "{error}");
    }

    #[test]
    fn workgroups_of_more_dimensions_than_are_covered_are_refused() {
        let limits = limits([65_535; 3]);
        let error = Grid::cover(1).resolve("k", [8, 8, 1], &limits).unwrap_err();
        assert!(matches!(error, LaunchError::NotOneDimensional { .. }), "{error}");
        let error = Grid::cover_2d(1, 1).resolve("k", [8, 8, 2], &limits).unwrap_err();
        assert!(matches!(error, LaunchError::NotTwoDimensional { .. }), "{error}");
        assert!(Grid::cover_3d(1, 1, 1).resolve("k", [8, 8, 2], &limits).is_ok());
    }

    proptest! {
        #[test]
        fn folded_grids_keep_the_limits_and_waste_little(
            groups in prop::array::uniform3(prop_oneof![1u32..40, 1u32..100_000, any::<u32>()]),
            limit in prop::array::uniform3(prop_oneof![1u32..40, 1u32..70_000]),
        ) {
            let total: u128 = groups.into_iter().map(u128::from).product();
            let room: u128 = limit.into_iter().map(u128::from).product();
            match fold(groups, limit) {
                Some(folded) => {
                    let all: u128 = folded.into_iter().map(u128::from).product();
                    let lines = u128::from(folded[1]) * u128::from(folded[2]);
                    prop_assert!(folded.iter().zip(limit).all(|(&count, limit)| count <= limit));
                    prop_assert!(total <= all && all < total + lines && all < 1 << 32);
                }
                // If there is room, the number of the last workgroup might need a 33rd bit.
                None => {
                    let lines = total.div_ceil(limit[0].into()) + u128::from(limit[2]);
                    prop_assert!(room < total || total + lines > 1 << 32, "{total} of {room}");
                }
            }
        }
    }
}
