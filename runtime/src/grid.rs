//! How many invocations a launch runs.

use crate::{LaunchError, select::Limits};

/// How many invocations a launch runs.
///
/// # Examples
///
/// ```
/// use farptr::Grid;
///
/// let elements = vec![0.0f32; 1000];
/// let one_each = Grid::cover(elements.len());
/// let by_hand = Grid::groups(16, 1, 1);
/// # let _ = (one_each, by_hand);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid(Extent);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extent {
    Cover(usize),
    Groups([u32; 3]),
}

impl Grid {
    /// At least `invocations` invocations, in whole workgroups.
    ///
    /// The kernel must be one-dimensional, take its index from `GLOBAL_INDEX` of
    /// `shaders/glsl/include/farptr.glsl`, and do nothing for an index beyond what it was asked
    /// for: there are usually some more invocations than `invocations`, and large launches are
    /// folded into two dimensions.
    #[must_use]
    pub const fn cover(invocations: usize) -> Self {
        Self(Extent::Cover(invocations))
    }

    /// Exactly this many workgroups in each dimension.
    #[must_use]
    pub const fn groups(x: u32, y: u32, z: u32) -> Self {
        Self(Extent::Groups([x, y, z]))
    }

    /// The workgroups to dispatch for a kernel's workgroup size, within a device's limits.
    pub(crate) fn resolve(
        self,
        kernel: &'static str,
        local_size: [u32; 3],
        limits: &Limits,
    ) -> Result<[u32; 3], LaunchError> {
        let groups = match self.0 {
            Extent::Cover(invocations) => {
                return fold(invocations, kernel, local_size, limits);
            }
            Extent::Groups(groups) => groups,
        };
        if groups.contains(&0) {
            return Err(LaunchError::EmptyGrid { kernel });
        }
        if groups.iter().zip(limits.groups).any(|(&asked, limit)| asked > limit) {
            return Err(LaunchError::GridTooLarge { kernel, groups, limit: limits.groups });
        }
        Ok(groups)
    }
}

/// Folds enough workgroups for `invocations` into two dimensions, as few in the second as will do.
fn fold(
    invocations: usize,
    kernel: &'static str,
    local_size: [u32; 3],
    limits: &Limits,
) -> Result<[u32; 3], LaunchError> {
    if invocations == 0 {
        return Err(LaunchError::EmptyGrid { kernel });
    }
    let [width, 1, 1] = local_size else {
        return Err(LaunchError::NotOneDimensional { kernel, local_size });
    };
    let too_large =
        LaunchError::TooManyInvocations { kernel, invocations, limit: u64::from(u32::MAX) };
    let Ok(invocations) = u32::try_from(invocations) else {
        return Err(too_large);
    };
    let groups = invocations.div_ceil(width);
    let rows = groups.div_ceil(limits.groups[0]);
    let columns = groups.div_ceil(rows);
    // GLOBAL_INDEX is a 32-bit number, also in the invocations beyond the last one asked for.
    let indices = u64::from(columns) * u64::from(rows) * u64::from(width);
    if rows > limits.groups[1] || indices > 1 << 32 {
        return Err(too_large);
    }
    Ok([columns, rows, 1])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn limits(x: u32, y: u32) -> Limits {
        Limits {
            groups: [x, y, 1],
            group_size: [1024, 1, 1],
            group_invocations: 1024,
            push_bytes: 128,
            allocation_bytes: 1 << 30,
        }
    }

    #[test]
    fn small_covers_are_one_row() {
        let limits = limits(65_535, 65_535);
        assert_eq!(Grid::cover(1).resolve("k", [64, 1, 1], &limits), Ok([1, 1, 1]));
        assert_eq!(Grid::cover(64).resolve("k", [64, 1, 1], &limits), Ok([1, 1, 1]));
        assert_eq!(Grid::cover(65).resolve("k", [64, 1, 1], &limits), Ok([2, 1, 1]));
    }

    #[test]
    fn empty_grids_are_refused() {
        let limits = limits(65_535, 65_535);
        let empty = Err(LaunchError::EmptyGrid { kernel: "k" });
        assert_eq!(Grid::cover(0).resolve("k", [64, 1, 1], &limits), empty);
        assert_eq!(Grid::groups(3, 0, 1).resolve("k", [64, 1, 1], &limits), empty);
    }

    #[test]
    fn grids_beyond_the_limits_are_refused() {
        let limits = limits(8, 4);
        let error = Grid::groups(9, 1, 1).resolve("k", [64, 1, 1], &limits).unwrap_err();
        assert!(matches!(error, LaunchError::GridTooLarge { .. }), "{error}");
        let error = Grid::cover(64 * 33).resolve("k", [64, 1, 1], &limits).unwrap_err();
        assert!(matches!(error, LaunchError::TooManyInvocations { .. }), "{error}");
        let error = Grid::cover(usize::MAX).resolve("k", [64, 1, 1], &limits).unwrap_err();
        assert!(matches!(error, LaunchError::TooManyInvocations { .. }), "{error}");
        let error = Grid::cover(1).resolve("k", [8, 8, 1], &limits).unwrap_err();
        assert!(matches!(error, LaunchError::NotOneDimensional { .. }), "{error}");
    }

    proptest! {
        #[test]
        fn covers_cover_and_keep_the_limits(
            invocations in 1usize..5_000_000_000,
            width in 1u32..1024,
            x in 1u32..70_000,
            y in 1u32..70_000,
        ) {
            let limits = limits(x, y);
            let resolved = Grid::cover(invocations).resolve("k", [width, 1, 1], &limits);
            let room = u128::from(x) * u128::from(y) * u128::from(width);
            match resolved {
                Ok([columns, rows, depth]) => {
                    let indices = u64::from(columns) * u64::from(rows) * u64::from(width);
                    prop_assert!(columns <= x && rows <= y && depth == 1);
                    prop_assert!(indices >= invocations as u64 && indices <= 1 << 32);
                }
                Err(_) => prop_assert!(
                    room < invocations as u128 || invocations > u32::MAX as usize - 100_000_000
                ),
            }
        }
    }
}
