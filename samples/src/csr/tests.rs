use super::check::*;
use super::*;
use proptest::prelude::*;

fn small() -> Csr {
    let entries = vec![(1, 2, 5.0), (0, 1, 2.0), (1, 0, 4.0), (0, 1, 1.0)];
    Csr::from_triplets(2, 3, entries).unwrap()
}

#[test]
fn triplets_are_sorted_and_summed() {
    let matrix = small();
    assert_eq!(matrix.row_ptr, [0, 1, 3]);
    assert_eq!(matrix.col, [1, 0, 2]);
    assert_eq!(matrix.val, [3.0, 4.0, 5.0]);
    assert_eq!(matrix.view().longest_row(), 2);
}

#[test]
fn duplicates_that_overflow_are_refused() {
    let result = Csr::from_triplets(1, 1, vec![(0, 0, f32::MAX), (0, 0, f32::MAX)]);
    assert_eq!(result, Err(Problem::NotFinite { text: "inf".into() }));
}

#[test]
fn entries_outside_are_refused() {
    let row = Csr::from_triplets(2, 2, vec![(2, 0, 1.0)]);
    assert_eq!(row, Err(Problem::OutOfRange { axis: "row", index: 2, limit: 2 }));
    let column = Csr::from_triplets(2, 2, vec![(0, 7, 1.0)]);
    assert_eq!(column, Err(Problem::OutOfRange { axis: "column", index: 7, limit: 2 }));
}

#[test]
fn more_than_32_bits_are_refused() {
    let limit = u64::from(u32::MAX);
    let problem = check_limits(1, 1, 1 << 32).unwrap_err();
    assert_eq!(problem, Problem::TooLarge { what: "entries", count: 1 << 32, limit });
}

#[test]
fn each_broken_array_is_named() {
    let broken = |change: fn(&mut Csr)| {
        let mut matrix = small();
        change(&mut matrix);
        matrix.view().validate().unwrap_err().to_string()
    };
    assert_eq!(broken(|m| m.row_ptr[0] = 1), "row pointer 0 is 1, expected 0");
    assert_eq!(broken(|m| m.row_ptr[1] = 9), "row pointer 2 is 3, expected 9 or more");
    assert_eq!(broken(|m| m.row_ptr[2] = 2), "row pointer 2 is 2, expected 3");
    assert_eq!(broken(|m| m.col[0] = 3), "column index 3 is out of range, the size is 3");
    assert_eq!(broken(|m| m.val[0] = f32::NAN), "value NaN is not a finite 32-bit number");
    assert_eq!(broken(|m| m.rows = 5), "array row_ptr has 3 elements, expected 6");
    assert_eq!(broken(|m| m.val.truncate(2)), "array val has 2 elements, expected 3");
}

#[test]
fn implausible_sizes_are_refused() {
    assert!(check_plausible(1 << 24, 1 << 24, 1).is_ok());
    assert!(check_plausible((1 << 24) + 1, 1, 1).is_err());
    assert!(check_plausible(64 << 20, 1, 1 << 20).is_ok());
}

#[test]
fn symmetry_looks_at_pattern_and_values() {
    let matrix = |entries: Vec<Triplet>| Csr::from_triplets(2, 2, entries).unwrap();
    assert!(matrix(vec![(0, 1, 2.0), (1, 0, 2.0), (1, 1, 3.0)]).view().is_symmetric());
    assert!(!matrix(vec![(0, 1, 2.0), (1, 0, 2.5)]).view().is_symmetric());
    assert!(!matrix(vec![(0, 1, 2.0)]).view().is_symmetric());
    assert!(!small().view().is_symmetric());
}

fn dense(matrix: &Csr) -> Vec<f32> {
    let mut cells = vec![0.0; matrix.rows * matrix.cols];
    for row in 0..matrix.rows {
        let (columns, values) = matrix.view().row(row);
        for (&column, &value) in columns.iter().zip(values) {
            cells[row * matrix.cols + column as usize] += value;
        }
    }
    cells
}

fn triplets() -> impl Strategy<Value = (usize, usize, Vec<Triplet>)> {
    (1usize..9, 1usize..9).prop_flat_map(|(rows, cols)| {
        let (r, c) = (0..u32::try_from(rows).unwrap(), 0..u32::try_from(cols).unwrap());
        // Small whole numbers, so that sums in any order are exact.
        let entry = (r, c, (-8i8..8).prop_map(f32::from));
        (Just(rows), Just(cols), prop::collection::vec(entry, 0..40))
    })
}

proptest! {
    #[test]
    fn from_triplets_equals_a_dense_sum((rows, cols, entries) in triplets()) {
        let mut expected = vec![0.0; rows * cols];
        for &(row, col, value) in &entries {
            expected[row as usize * cols + col as usize] += value;
        }
        let matrix = Csr::from_triplets(rows, cols, entries).unwrap();
        prop_assert!(matrix.view().validate().is_ok());
        prop_assert_eq!(dense(&matrix), expected);
    }

    #[test]
    fn transpose_swaps_every_cell((rows, cols, entries) in triplets()) {
        let matrix = Csr::from_triplets(rows, cols, entries).unwrap();
        let transposed = matrix.view().transpose();
        prop_assert!(transposed.view().validate().is_ok());
        let (cells, turned) = (dense(&matrix), dense(&transposed));
        for row in 0..rows {
            for col in 0..cols {
                prop_assert_eq!(cells[row * cols + col], turned[col * rows + row]);
            }
        }
        prop_assert_eq!(transposed.view().transpose(), matrix);
    }
}
