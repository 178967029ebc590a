//! Probes that crash, hang and print, by which tests see what becomes of those that do.

use super::{
    child::Answer,
    correctness::trial::{self, CRASH, NONSENSE, WRONG},
    finding::Finding,
    probe::{Probe, Situation, Subject},
};
use crate::failure::Failure;
use std::{thread, time::Duration};

pub(super) fn probes(_: &Situation<'_>) -> Vec<Probe> {
    let limit = Duration::from_secs(60);
    let probe = |name| Probe::new(name, limit);
    let hang = Probe::new("hang", Duration::from_secs(1));
    let skipped = Probe { skip: Some("there is no reason to".into()), ..probe("skip") };
    let known = ["abort", "exit", "print", "fail", WRONG, CRASH, NONSENSE].map(probe);
    known.into_iter().chain([hang, skipped]).collect()
}

pub(super) fn ask(subject: &mut Subject, name: &str) -> Result<Answer, Failure> {
    subject.at("the last stage");
    match name {
        "abort" => std::process::abort(),
        "hang" => loop {
            thread::sleep(Duration::from_secs(1));
        },
        "exit" => {
            eprintln!("the last words");
            std::process::exit(7)
        }
        "print" => {
            println!("{{\"Answer\":\"nonsense\"}}");
            Ok(Answer::Finding(Finding::right("an answer").figure("number", 3)))
        }
        WRONG | CRASH | NONSENSE => Ok(Answer::Finding(trial::run(subject, name)?)),
        _ => Err(Failure::DeviceNotFound { name: name.to_owned() }),
    }
}
