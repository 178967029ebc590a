//! Judges what was found. A function of plain data; nothing here is measured or timed.
//!
//! A *mode* that farptr proved is
//!
//! * failed, if a check of it shows a fault;
//! * degraded, if a check of it was refused or not tried, if kernels have to work around the
//!   driver, if no write of the host reaches a running kernel, or, where it imports memory, if some
//!   kind of memory cannot be imported;
//! * certified otherwise.
//!
//! The *device* is
//!
//! * failed, if no mode is proved, or the one that farptr takes by itself failed;
//! * degraded, if another mode failed, if the one that farptr takes is degraded, or if a check that
//!   belongs to no mode shows a fault;
//! * certified otherwise.

use super::finding::{Check, IMPORTS, Mode, Outcome};

use serde::Serialize;
use std::fmt;

/// How far farptr can be relied on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Grade {
    /// Exit code 0.
    Certified,
    /// Exit code 1.
    Degraded,
    /// Exit code 2.
    Failed,
}

impl Grade {
    /// The exit code of the program.
    pub(super) fn exit_code(self) -> u8 {
        match self {
            Self::Certified => 0,
            Self::Degraded => 1,
            Self::Failed => 2,
        }
    }
}

impl fmt::Display for Grade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Certified => "certified",
            Self::Degraded => "degraded",
            Self::Failed => "failed",
        })
    }
}

/// The judgement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Verdict {
    pub(super) grade: Grade,
    pub(super) exit_code: u8,
    /// Why it is no better.
    pub(super) reasons: Vec<String>,
    pub(super) modes: Vec<ModeVerdict>,
    /// The device's row for the table "Devices" of farptr's README.
    pub(super) table_row: String,
}

/// The judgement on a mode.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct ModeVerdict {
    pub(super) mode: String,
    /// Absent if the mode is not proved.
    pub(super) grade: Option<Grade>,
    pub(super) automatic: bool,
    pub(super) reasons: Vec<String>,
    /// What farptr itself says of access and backing.
    pub(super) explained: Vec<String>,
}

/// Judges what was found about a device, of which `title` is the name and the driver.
pub(super) fn judge(title: &str, modes: &[Mode], checks: &[Check]) -> Verdict {
    let modes: Vec<_> = modes.iter().map(|mode| judge_mode(mode, checks)).collect();
    let mut grade = Grade::Certified;
    let mut reasons = Vec::new();
    let mut note = |to: Grade, reason: String| {
        grade = grade.max(to);
        reasons.push(reason);
    };
    if modes.iter().all(|mode| mode.grade.is_none()) {
        note(Grade::Failed, "farptr cannot use the device in any mode".to_owned());
    }
    for mode in &modes {
        let taken = mode.automatic;
        match mode.grade {
            Some(Grade::Failed) => {
                let to = if taken { Grade::Failed } else { Grade::Degraded };
                note(to, format!("{} access failed", mode.mode));
            }
            Some(Grade::Degraded) if taken => {
                note(Grade::Degraded, format!("{} access is degraded", mode.mode));
            }
            _ => {}
        }
    }
    for check in checks.iter().filter(|check| check.mode.is_none()) {
        if check.finding.outcome.is_fault() {
            note(Grade::Degraded, named(check));
        }
    }
    let table_row = table_row(title, grade, &modes);
    Verdict { grade, exit_code: grade.exit_code(), reasons, modes, table_row }
}

/// The verdict on a machine whose device cannot be looked at.
pub(super) fn no_device(reason: String) -> Verdict {
    Verdict {
        grade: Grade::Failed,
        exit_code: Grade::Failed.exit_code(),
        reasons: vec![reason],
        modes: Vec::new(),
        table_row: String::new(),
    }
}

fn judge_mode(mode: &Mode, checks: &[Check]) -> ModeVerdict {
    let of_mode = |grade, reasons| ModeVerdict {
        mode: mode.name.clone(),
        grade,
        automatic: mode.automatic,
        reasons,
        explained: explained(&mode.words),
    };
    if !mode.proved {
        return of_mode(None, mode.words.clone());
    }
    let mut grade = Grade::Certified;
    let mut reasons = Vec::new();
    let mut note = |to: Grade, reason: String| {
        grade = grade.max(to);
        reasons.push(reason);
    };
    for check in checks.iter().filter(|check| check.mode.as_ref() == Some(&mode.name)) {
        match check.finding.outcome {
            outcome if outcome.is_fault() => note(Grade::Failed, named(check)),
            outcome if !outcome.is_good() => note(Grade::Degraded, named(check)),
            _ => {}
        }
    }
    if mode.cuts_loops {
        note(Grade::Degraded, "the driver cuts long loops; launches notice it".to_owned());
    }
    if mode.narrow_offsets {
        let reason = "the driver computes offsets in 32 bits; kernels compute them in 64";
        note(Grade::Degraded, reason.to_owned());
    }
    if no_stop_is_seen(checks) {
        let reason = "no write of the host reaches a running kernel, so none can be stopped by one";
        note(Grade::Degraded, reason.to_owned());
    }
    if mode.name != "copy" {
        for check in checks.iter().filter(|check| check.step == IMPORTS) {
            match check.finding.outcome {
                Outcome::Wrong => note(Grade::Failed, named(check)),
                outcome if outcome.is_good() || outcome == Outcome::NotTried => {}
                _ => note(Grade::Degraded, named(check)),
            }
        }
    }
    of_mode(Some(grade), reasons)
}

/// The lines of farptr's explanation on access and backing, each without its label.
fn explained(words: &[String]) -> Vec<String> {
    let said = |label| words.iter().find_map(|line| line.strip_prefix(label));
    let said = ["access ", "backing "].into_iter().filter_map(said);
    said.map(|line| line.trim_start().to_owned()).collect()
}

/// Whether stop words were tried, and kernels saw none.
fn no_stop_is_seen(checks: &[Check]) -> bool {
    let seen = checks.iter().filter_map(|check| check.finding.figures.get("seen")?.as_bool());
    seen.reduce(|one, other| one || other) == Some(false)
}

/// A check with its outcome, in one line.
fn named(check: &Check) -> String {
    format!("{}: {}: {}", check.step, check.name, check.finding.outcome)
}

fn table_row(title: &str, grade: Grade, modes: &[ModeVerdict]) -> String {
    let cells = modes.iter().map(|mode| match mode.grade {
        None => format!("{}: no", mode.mode),
        Some(grade) if mode.automatic => format!("**{}**: {grade}", mode.mode),
        Some(grade) => format!("{}: {grade}", mode.mode),
    });
    format!("| {title} | {grade} | {} |", cells.collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Finding;

    fn mode(name: &str, proved: bool, automatic: bool) -> Mode {
        let (cuts_loops, narrow_offsets) = (false, false);
        let name = name.to_owned();
        Mode { name, proved, automatic, cuts_loops, narrow_offsets, words: vec!["why".into()] }
    }

    fn check(step: &str, mode: Option<&str>, outcome: Outcome) -> Check {
        let finding = Finding::new(outcome, "");
        let mode = mode.map(str::to_owned);
        Check { step: step.into(), name: "n".into(), mode, seconds: 0.0, finding }
    }

    fn grade(modes: &[Mode], checks: &[Check]) -> Grade {
        let verdict = judge("t", modes, checks);
        assert_eq!(verdict.exit_code, verdict.grade.exit_code());
        assert_eq!(verdict.reasons.is_empty(), verdict.grade == Grade::Certified);
        verdict.grade
    }

    #[test]
    fn every_outcome_of_a_check_has_its_grade() {
        use Outcome::{DidNotEnd, Died, Failed, Measured, NotTried, Refused, Right, Wrong};
        // Of the mode that is taken, of another mode, of none, and of imports.
        let (certified, degraded, failed) = (Grade::Certified, Grade::Degraded, Grade::Failed);
        let table = [
            (Right, certified, certified, certified, certified),
            (Measured, certified, certified, certified, certified),
            (NotTried, degraded, certified, certified, certified),
            (Refused, degraded, certified, certified, degraded),
            (Failed, failed, degraded, degraded, degraded),
            (Died, failed, degraded, degraded, degraded),
            (DidNotEnd, failed, degraded, degraded, degraded),
            (Wrong, failed, degraded, degraded, failed),
        ];
        let modes = [mode("direct", true, true), mode("copy", true, false)];
        for (outcome, taken, other, none, imports) in table {
            let of = |step, mode| grade(&modes, &[check(step, mode, outcome)]);
            assert_eq!(of("correctness", Some("direct")), taken, "{outcome}");
            assert_eq!(of("correctness", Some("copy")), other, "{outcome}");
            assert_eq!(of("behaviour", None), none, "{outcome}");
            assert_eq!(of(IMPORTS, None), imports, "{outcome}");
        }
    }

    #[test]
    fn imports_say_nothing_about_copies() {
        let refused = check(IMPORTS, None, Outcome::Refused);
        assert_eq!(grade(&[mode("copy", true, true)], &[refused]), Grade::Certified);
    }

    #[test]
    fn a_mode_that_is_not_proved_has_no_grade_and_gives_its_reason() {
        let modes = [mode("direct", false, false), mode("copy", true, true)];
        let verdict = judge("card", &modes, &[]);
        assert_eq!(verdict.grade, Grade::Certified);
        assert_eq!((verdict.modes[0].grade, &verdict.modes[0].reasons[0][..]), (None, "why"));
        assert!(verdict.modes[0].explained.is_empty());
        assert_eq!(verdict.table_row, "| card | certified | direct: no, **copy**: certified |");
        assert_eq!(grade(&[mode("direct", false, false)], &[]), Grade::Failed);
        assert_eq!(grade(&[], &[]), Grade::Failed);
    }

    #[test]
    fn a_device_on_which_no_kernel_sees_a_stop_is_degraded() {
        let stop = |seen: bool| {
            let finding = Finding::measured("").figure("seen", seen);
            Check { finding, ..check("behaviour", None, Outcome::Measured) }
        };
        let modes = [mode("copy", true, true)];
        assert_eq!(grade(&modes, &[stop(false), stop(false)]), Grade::Degraded);
        assert_eq!(grade(&modes, &[stop(false), stop(true)]), Grade::Certified);
    }

    #[test]
    fn a_mode_is_explained_in_the_words_of_farptr() {
        let words = ["device 0    card", "access      direct: proved", "backing     import: all"];
        let words = words.map(str::to_owned).into();
        let verdict = judge("card", &[Mode { words, ..mode("direct", true, true) }], &[]);
        assert_eq!(verdict.modes[0].explained, ["direct: proved", "import: all"]);
    }

    #[test]
    fn what_kernels_work_around_degrades() {
        let cut = Mode { cuts_loops: true, ..mode("copy", true, true) };
        let narrow = Mode { narrow_offsets: true, ..mode("copy", true, true) };
        assert_eq!(grade(&[cut], &[]), Grade::Degraded);
        assert_eq!(grade(&[narrow], &[]), Grade::Degraded);
    }
}
