//! Every list of cases.

use crate::case::Named;
use crate::{
    assembly, atomics, composites, control, groups, indices, lists, model, pointers, scalars,
};

/// Cases of one kind.
#[derive(Clone, Copy, Debug)]
pub struct List {
    /// The name of the list.
    pub name: &'static str,
    /// The cases.
    pub cases: &'static [Named],
}

/// Every list.
pub const LISTS: [List; 11] = [
    List { name: "assembly, accesses", cases: assembly::accesses::CASES },
    List { name: "assembly, values", cases: assembly::values::CASES },
    List { name: "atomics", cases: atomics::CASES },
    List { name: "composites", cases: composites::CASES },
    List { name: "control", cases: control::CASES },
    List { name: "groups", cases: groups::CASES },
    List { name: "indices", cases: indices::CASES },
    List { name: "lists", cases: lists::CASES },
    List { name: "model", cases: model::CASES },
    List { name: "pointers", cases: pointers::CASES },
    List { name: "scalars", cases: scalars::CASES },
];

/// The case of this name, if there is one.
#[must_use]
pub fn find(name: &str) -> Option<Named> {
    LISTS.iter().flat_map(|list| list.cases).copied().find(|case| case.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn no_two_cases_have_a_name_in_common() {
        let names: Vec<_> =
            LISTS.iter().flat_map(|list| list.cases).map(|case| case.name).collect();
        assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len());
        assert_eq!(names.len(), 151, "README.md counts them, too");
    }
}
