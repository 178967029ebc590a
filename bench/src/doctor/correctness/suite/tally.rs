//! What came of many kernels, as one finding.

use crate::doctor::finding::{Finding, Outcome};
use std::collections::BTreeMap;

/// What came of one kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    Right,
    /// It cannot run here, for this reason.
    NotRun(String),
    /// Its result is not right.
    Wrong(String),
    /// A call failed.
    Failed(String),
}

/// What came of kernels, each with its name.
#[derive(Debug, Default)]
pub(super) struct Tally {
    right: usize,
    /// The names, by reason.
    not_run: BTreeMap<String, Vec<String>>,
    wrong: Vec<String>,
    failed: Vec<String>,
}

impl Tally {
    pub(super) fn add(&mut self, name: &str, judgement: Judgement) {
        match judgement {
            Judgement::Right => self.right += 1,
            Judgement::NotRun(why) => self.not_run.entry(why).or_default().push(name.to_owned()),
            Judgement::Wrong(how) => self.wrong.push(format!("{name}: {how}")),
            Judgement::Failed(how) => self.failed.push(format!("{name}: {how}")),
        }
    }

    /// One finding: a wrong result is worse than a call that failed, and one of either is enough.
    pub(super) fn finding(self) -> Finding {
        let (differing, failed) = (self.wrong.len(), self.failed.len());
        let run = self.right + differing + failed;
        let faults = match (self.wrong.first(), self.failed.first()) {
            (Some(first), _) => Some((Outcome::Wrong, first)),
            (None, Some(first)) => Some((Outcome::Failed, first)),
            (None, None) => None,
        };
        let finding = match faults {
            Some((outcome, first)) => {
                let others = differing + failed - 1;
                let others = match others {
                    0 => String::new(),
                    others => format!("; {others} more of {run} are not right"),
                };
                Finding::new(outcome, format!("kernel {first}{others}"))
            }
            None if run == 0 => Finding::not_tried(self.words_of_not_run()),
            None if self.not_run.is_empty() => Finding::right(format!("{run} right")),
            None => {
                let not_run = self.words_of_not_run();
                Finding::right(format!("{run} right; not run: {not_run}"))
            }
        };
        let not_run: usize = self.not_run.values().map(Vec::len).sum();
        finding
            .figure("kernels", run)
            .figure("not_run", not_run)
            .figure("differing", differing)
            .figure("failed", failed)
    }

    /// The kernels that cannot run here, with the reasons.
    fn words_of_not_run(&self) -> String {
        let words = self.not_run.iter().map(|(why, names)| format!("{} ({why})", names.join(", ")));
        words.collect::<Vec<_>>().join("; ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(judgements: &[(&str, Judgement)]) -> (Outcome, String, [u64; 4]) {
        let mut tally = Tally::default();
        judgements.iter().for_each(|(name, judgement)| tally.add(name, judgement.clone()));
        let finding = tally.finding();
        let figure = |name: &str| finding.figures[name].as_u64().unwrap();
        let figures = ["kernels", "not_run", "differing", "failed"].map(figure);
        (finding.outcome, finding.detail, figures)
    }

    #[test]
    fn one_wrong_kernel_makes_the_finding_wrong_and_is_named() {
        let wrong = ("b", Judgement::Wrong("lend 1 differs".into()));
        let failed = ("a", Judgement::Failed("lost".into()));
        let right = ("c", Judgement::Right);
        let lacking = ("d", Judgement::NotRun("no Float64".into()));
        let said = of(&[failed.clone(), wrong, right.clone(), lacking.clone()]);
        let words = "kernel b: lend 1 differs; 1 more of 3 are not right";
        assert_eq!(said, (Outcome::Wrong, words.to_owned(), [3, 1, 1, 1]));
        let said = of(&[right.clone(), failed]);
        assert_eq!(said, (Outcome::Failed, "kernel a: lost".to_owned(), [2, 0, 0, 1]));
        let also = ("e", Judgement::NotRun("no Float64".into()));
        let other = ("f", Judgement::NotRun("no Int8".into()));
        let said = of(&[right, lacking.clone(), other, also]);
        let words = "1 right; not run: d, e (no Float64); f (no Int8)";
        assert_eq!(said, (Outcome::Right, words.to_owned(), [1, 3, 0, 0]));
        assert_eq!(of(&[lacking]).0, Outcome::NotTried);
    }
}
