//! The results as JSON, in the form that later versions keep.

use crate::{machine::Machine, rival::SmallPieces};
use serde::Serialize;

/// One variant at one size.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) case: &'static str,
    pub(crate) variant: &'static str,
    pub(crate) size_bytes: u64,
    /// Time of one operation.
    pub(crate) median_ns: f64,
    /// Median absolute deviation of the samples.
    pub(crate) mad_ns: f64,
    pub(crate) samples: usize,
    /// The variant that `ratio` refers to; the baseline refers to itself.
    pub(crate) ratio_to: &'static str,
    /// The median over all rounds of the ratio within a round.
    pub(crate) ratio: f64,
    pub(crate) verified: bool,
    /// The exponent with which the ratio has grown since the size before; for cases that ask.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) exponent: Option<f64>,
    /// Median absolute deviation of the ratios; for the table only.
    #[serde(skip)]
    pub(crate) ratio_mad: f64,
}

/// Everything that a run has to say.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Record {
    pub(crate) machine: Machine,
    /// How the C library's allocator was set, for all variants alike.
    pub(crate) malloc: SmallPieces,
    pub(crate) commit: String,
    pub(crate) results: Vec<Row>,
    /// The cases that cannot be measured here, if there are any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) not_run: Vec<NotRun>,
}

/// A case that cannot be measured here.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct NotRun {
    pub(crate) case: &'static str,
    pub(crate) reason: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exponent_is_there_if_there_is_one() {
        let mut record = record();
        record.results[0].exponent = Some(0.5);
        let text = serde_json::to_string(&record).unwrap();
        assert!(text.ends_with(r#""verified":true,"exponent":0.5}]}"#), "{text}");
    }

    fn record() -> Record {
        Record {
            machine: Machine {
                cpu: "c".into(),
                cores: 2,
                kernel: "k".into(),
                device: "d".into(),
                driver: "v".into(),
            },
            malloc: SmallPieces::Merged,
            commit: "0123-dirty".into(),
            results: vec![Row {
                case: "saxpy",
                variant: "farptr",
                size_bytes: 65_536,
                median_ns: 1500.5,
                mad_ns: 2.25,
                samples: 9,
                ratio_to: "raw-address",
                ratio: 1.5,
                verified: true,
                exponent: None,
                ratio_mad: 0.5,
            }],
            not_run: Vec::new(),
        }
    }

    #[test]
    fn the_keys_are_those_that_were_promised() {
        let golden = concat!(
            r#"{"machine":{"cpu":"c","cores":2,"kernel":"k","device":"d","driver":"v"},"#,
            r#""malloc":"merged","commit":"0123-dirty","#,
            r#""results":[{"case":"saxpy","variant":"farptr","#,
            r#""size_bytes":65536,"median_ns":1500.5,"mad_ns":2.25,"samples":9,"#,
            r#""ratio_to":"raw-address","ratio":1.5,"verified":true}]}"#,
        );
        assert_eq!(serde_json::to_string(&record()).unwrap(), golden);
        let not_run = vec![NotRun { case: "hmm-fault-home", reason: "r".into() }];
        let text = serde_json::to_string(&Record { not_run, ..record() }).unwrap();
        let end = r#"],"not_run":[{"case":"hmm-fault-home","reason":"r"}]}"#;
        assert!(text.ends_with(end), "{text}");
    }
}
