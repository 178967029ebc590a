//! The cases, one in a file.
//!
//! To add one, write a file in this folder with a type that implements [`Case`], and name it in
//! [`CASES`].

mod bfs;
mod cg;
mod cold_saxpy;
mod cold_sparse;
mod first_use;
mod growth;
mod hmm;
mod launch;
mod launch_batch;
mod reuse_saxpy;
mod saxpy;
mod warm;

use crate::case::Case;
use launch_batch::LaunchBatch;
use std::fmt;
use warm::Warm;

/// Every case, in the order in which they are listed and run.
const CASES: &[&dyn Case] = &[
    &launch::Launch,
    &LaunchBatch::INDEPENDENT,
    &LaunchBatch::CHAIN,
    &saxpy::Saxpy,
    &Warm::<warm::Saxpy>::CASE,
    &Warm::<warm::Saxpy4>::CASE,
    &Warm::<warm::Spmv>::CASE,
    &Warm::<warm::Chase>::CASE,
    &Warm::<warm::Gather>::CASE,
    &cold_saxpy::ColdSaxpy,
    &cold_sparse::ColdSparse,
    &reuse_saxpy::ReuseSaxpy,
    &cg::Cg,
    &bfs::Bfs,
    &first_use::FirstUse,
    &growth::Lends,
    &growth::LendSize,
    &growth::Pointers,
    &hmm::Snapshot::SMALL,
    &hmm::Snapshot::HUGE,
    &hmm::Populate,
    &hmm::Invalidate,
    &hmm::FaultHome::SAME_CORE,
    &hmm::FaultHome::OTHER_CORE,
    &hmm::Touch,
    &hmm::Transfer::MOVE,
    &hmm::Transfer::COPY,
];

/// Every case.
pub(crate) fn all() -> &'static [&'static dyn Case] {
    CASES
}

/// The cases with these names, in the order given; all of them when there are no names.
pub(crate) fn select(names: &[String]) -> Result<Vec<&'static dyn Case>, UnknownCase> {
    if names.is_empty() {
        return Ok(CASES.to_vec());
    }
    names.iter().map(|name| find(name)).collect()
}

fn find(name: &str) -> Result<&'static dyn Case, UnknownCase> {
    let found = CASES.iter().find(|case| case.name() == name);
    found.copied().ok_or_else(|| UnknownCase(name.to_owned()))
}

/// A name that no case has.
#[derive(Debug)]
pub(crate) struct UnknownCase(String);

impl fmt::Display for UnknownCase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = CASES.iter().map(|case| case.name()).collect();
        write!(f, "there is no case `{}`; the cases are: {}", self.0, names.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_select_and_unknown_ones_are_refused() {
        assert_eq!(select(&[]).ok().unwrap().len(), CASES.len());
        let two = select(&["saxpy".to_owned(), "launch".to_owned()]).ok().unwrap();
        assert_eq!([two[0].name(), two[1].name()], ["saxpy", "launch"]);
        let error = select(&["saxpi".to_owned()]).err().unwrap().to_string();
        assert!(
            error.starts_with("there is no case `saxpi`; the cases are: launch, launch-batch, ")
        );
    }
}
